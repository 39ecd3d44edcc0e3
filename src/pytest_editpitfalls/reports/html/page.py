"""One self-contained page: templates filled with figures, the page's own style and script, the cases as JSON."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.garbage import held_back
from pytest_editpitfalls.outputs import write_text
from pytest_editpitfalls.reports.view.run import RunView
from pytest_editpitfalls.reports.view.verdicts import baseline_counts
from pytest_editpitfalls.reports.view.weights import HEADINGS
from pytest_editpitfalls.reports.view.words import MARK, TOO_FEW
from pytest_editpitfalls.results.records import RunResults

from .charts import share_bar
from .figures import matrix, outcome_counts, suite_parts
from .payload import case_payload, embedded
from .runs import beside, case_link, gate_rows, run_blocks
from .words import (
    OUTCOMES,
    bound,
    bound_interval,
    change,
    drop,
    duration,
    lift_over,
    mean,
    mean_interval,
    p_value,
    scale,
    words_of,
)

DEFAULT_TITLE = "Pitfalls of knowledge edits"
SCRIPTS = ("cases.js", "commands.js", "table.js", "story.js", "page.js")
"""In this order; together they are one script."""


def render_html(
    results: RunResults,
    *,
    title: str = DEFAULT_TITLE,
    others: Sequence[RunResults] = (),
    other_labels: Sequence[str] = (),
) -> str:
    """Return the report as one HTML page that loads nothing: the same text for the same input.

    Args:
        results: the run. Its text is raw: whatever it holds is shown, never obeyed.
        others: runs to compare with: their figures, and the cases whose outcome flipped.
        other_labels: what they are called; those without a label are "run 2", "run 3", ...
    """
    with held_back():
        return _rendered(results, title, others, other_labels)


def _rendered(results: RunResults, title: str, others: Sequence[RunResults], other_labels: Sequence[str]) -> str:
    labels = [*other_labels, *(f"run {place + 2}" for place in range(len(other_labels), len(others)))]
    compared = list(zip(labels, others, strict=False))
    view = RunView(results)
    suites = suite_parts(view)
    style, script = _static("report.css"), "".join(map(_static, SCRIPTS))
    script = f'"use strict";\n(() => {{\n{script}}})();\n'
    counts = outcome_counts(results.cases)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=visible(title),
            policy=_policy(style, script),
            style=Markup(style),
            script=Markup(script),
            data=Markup(embedded(case_payload(view, compared))),
            run=results.run,
            started=visible(results.run.started or "an unknown time"),
            editors=_labels([a.editor for a in results.aggregates], [p.editor for p in results.properties]),
            models=_labels([a.model for a in results.aggregates], [p.model for p in results.properties]),
            verdict=_verdict(results),
            total=len(results.cases),
            cached=view.cached,
            counts=counts,
            outcome_bar=share_bar(counts),
            outcomes=OUTCOMES,
            suites=suites,
            matrix=matrix(suites),
            lines=view.outcomes,
            nothing=view.nothing,
            not_scored=view.not_scored,
            unreliable=[line.removeprefix(f"{MARK} ") for line in view.unreliable],
            below=[line.removeprefix(f"{MARK} ") for line in view.below],
            gates=gate_rows(results.gates),
            relative_gates=gate_rows(results.relative_gates),
            comparison=results.comparison,
            reasons=[visible(reason.text) for reason in results.reasons],
            others=[beside(view, label, other) for label, other in compared],
            properties=view.properties,
            weights=view.weights,
            weight_headings=HEADINGS,
            blocks=run_blocks(results),
            metrics=[words_of(name, view.pitfalls.values()) for name in view.metrics],
        )
    )


def write_html(
    path: Path,
    results: RunResults,
    *,
    title: str = DEFAULT_TITLE,
    others: Sequence[RunResults] = (),
    other_labels: Sequence[str] = (),
    where: str = "--pitfalls-html",
) -> None:
    """Write the report to ``path``, whole or not at all; arguments as `render_html`.

    Raises:
        UsageError: the file cannot be written; an earlier file at ``path`` is left as it was.
    """
    page = render_html(results, title=title, others=others, other_labels=other_labels)
    write_text(page, path, where=where)


def _verdict(results: RunResults) -> str:
    """Return what became of the run, where the record says so."""
    status = results.run.exit_status
    return "" if status is None else {0: "passed", 2: "interrupted", 5: "no case ran"}.get(status, "FAILED")


def _labels(*names: list[str]) -> list[str]:
    """Return each name once, to be shown."""
    return list(dict.fromkeys(visible(name) for some in names for name in some))


@cache
def _environment() -> Environment:
    loader = PackageLoader(__package__)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"visible": visible, "duration": duration}
    environment.filters |= {"mean": mean, "change": change, "bound": bound, "drop": drop, "p_value": p_value}
    environment.globals |= {
        "case_link": case_link,
        "bound_interval": bound_interval,
        "mean_interval": mean_interval,
        "lift_over": lift_over,
        "scale": scale,
        "too_few": TOO_FEW,
        "baseline_counts": baseline_counts,
    }
    return environment


def _static(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return a Content-Security-Policy: this very style and script and nothing else, no network at all."""

    def source(text: str) -> str:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return f"'sha256-{digest}'"

    return (
        f"default-src 'none'; script-src {source(script)}; style-src {source(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
