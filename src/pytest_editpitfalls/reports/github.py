"""What a GitHub Actions job shows besides its log: the job's summary, and annotations of failed gates."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_editpitfalls.escaping import visible

from .view.verdicts import bound_figure
from .view.words import ends

if TYPE_CHECKING:
    from pytest_editpitfalls.results.comparison_records import RelativeGateRecord
    from pytest_editpitfalls.results.records import GateRecord, RunResults

MAX_SUMMARY = 1024 * 1024
"""Bytes of a step's summary: GitHub drops a larger one."""

MAX_ANNOTATIONS = 10
"""Annotations of one type that GitHub shows of a step."""

_LONGEST = 1000


def add_step_summary(results: RunResults, environ: Mapping[str, str] = os.environ) -> str | None:
    """Append the Markdown report of a run that has results to the step's summary; returns as `write_step_summary`."""
    if not (environ.get("GITHUB_STEP_SUMMARY") and (results.cases or results.properties)):
        return None
    from .markdown import render_markdown

    return write_step_summary(render_markdown(results), environ)


def write_step_summary(markdown: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Append a report to the step's summary where there is one (``GITHUB_STEP_SUMMARY``).

    Returns:
        Why it is not there, where there is a summary and it could not be added; otherwise None. The run goes on.
    """
    name = environ.get("GITHUB_STEP_SUMMARY", "")
    if not name:
        return None
    path = Path(name)
    text = f"{markdown.rstrip()}\n\n".encode("utf-8", "backslashreplace")
    try:
        present = path.stat().st_size if path.exists() else 0
        if present + len(text) > MAX_SUMMARY:
            return (
                f"no report in the job's summary: {present} bytes are in it, {len(text)} would be added, and GitHub "
                f"drops one of more than {MAX_SUMMARY}"
            )
        with path.open("ab") as file:
            file.write(text)
    except OSError as error:
        return visible(f"no report in the job's summary: cannot write '{path}': {error.strerror}")
    return None


def gate_annotations(results: RunResults, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return a workflow command for each reason, failed gate and failed property, at most ten.

    There are none outside of GitHub Actions.

    Each has to stand at the beginning of a line of the job's output.
    """
    if environ.get("GITHUB_ACTIONS") != "true":
        return []
    found = [(f"Worse than the baseline: {reason.suite}", reason.text) for reason in results.reasons]
    found += [_absolute(gate) for gate in results.gates if gate.passed is False]
    found += [_relative(gate) for gate in results.relative_gates if gate.passed is False]
    found += [
        (f"Property failed: {each.property}", f"{each.editor} on {each.model}: {each.failure or 'see the log'}")
        for each in results.properties
        if each.outcome in ("failed", "error")
    ]
    if len(found) > MAX_ANNOTATIONS:
        more = len(found) - MAX_ANNOTATIONS + 1
        found[MAX_ANNOTATIONS - 1 :] = [("Pitfalls of knowledge edits", f"{more} more reasons: see the summary")]
    return [_command(title, text) for title, text in found]


def _absolute(gate: GateRecord) -> tuple[str, str]:
    value = "" if gate.value is None else f"{gate.metric} = {bound_figure(gate.value)}"
    between = f" {ends(gate.low, gate.high)}".rstrip()
    return f"Gate failed: {gate.gate}", f"{_pair(gate.editor, gate.model)}{value}{between}"


def _relative(gate: RelativeGateRecord) -> tuple[str, str]:
    text = f"{_pair(gate.editor, gate.model)}{gate.suite}: {gate.reason or gate.verdict}"
    return f"Gate failed: {gate.gate}", text


def _pair(editor: str | None, model: str | None) -> str:
    return "" if editor is None else f"{editor} on {model}: "


def _command(title: str, text: str) -> str:
    """Return a workflow command; see "workflow commands" in GitHub's documentation for what has to be spelled."""
    name = _spelled(title).replace(":", "%3A").replace(",", "%2C")
    return f"::error title={name}::{_spelled(text)}"


def _spelled(text: str) -> str:
    # `visible` leaves no line break to spell
    return visible(text, at_most=_LONGEST).replace("%", "%25")
