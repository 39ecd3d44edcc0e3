"""What a run comes to, in one line for each editor and model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_editpitfalls.escaping import visible

from .verdicts import AnyGate, state_of

if TYPE_CHECKING:
    from .run import RunView

MISSED = ("failed", "xfailed")
"""Outcomes of a case that missed a threshold."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one editor on one model.

    Attributes:
        text: the line.
        is_failed: whether a case missed a threshold, a gate failed, a score is worse than without any edit, or a case
            fails that passed in the baseline.
    """

    text: str
    is_failed: bool


def outcomes_of(view: RunView) -> list[Outcome]:
    """Return a line for each editor and model of the run, in its order."""
    return [
        _outcome(view, editor, model)
        for editor, model in dict.fromkeys((each.editor, each.model) for each in view.results.aggregates)
    ]


def _outcome(view: RunView, editor: str, model: str) -> Outcome:
    own = {suite: cases for (suite, *pair), cases in view.cases.items() if pair == [editor, model]}
    scored = sum(case.is_scored for cases in own.values() for case in cases)
    missed = {suite: sum(case.outcome in MISSED for case in cases) for suite, cases in own.items()}
    fell = [*_worse(view, editor, model), *_gates(view, editor, model)]
    if total := sum(missed.values()):
        of = ", ".join(f"{suite} {count}" for suite, count in missed.items() if count)
        cases = f"{total} of {scored} cases miss{'es' if total == 1 else ''} a threshold ({of})"
    else:
        cases = f"no threshold is missed by {scored} cases" if scored else "no case was scored"
    return Outcome(visible(f"{editor} on {model}: {'; '.join([cases, *fell])}"), bool(total or fell))


def _worse(view: RunView, editor: str, model: str) -> list[str]:
    """The scores that are worse than without any edit, for certain."""
    found: dict[str, list[str]] = {}
    for table in view.tables:
        for row in table.rows:
            if (row.editor, row.model) == (editor, model) and not row.part and not row.published:
                for name in table.columns:
                    if (each := row.controlled.get(name)) is not None and each.is_worse:
                        found.setdefault(each.title, []).append(row.suite)
    scores = ", ".join(f"{title} ({', '.join(suites)})" for title, suites in found.items())
    return [f"worse than no edit: {scores}"] if scores else []


def _gates(view: RunView, editor: str, model: str) -> Iterator[str]:
    """What its gates and the baseline say."""
    results = view.results
    every: list[AnyGate] = [*results.gates, *results.relative_gates]
    gates = [gate for gate in every if (gate.editor, gate.model) in ((editor, model), (None, None))]
    if failed := sum(state_of(gate) == "failed" for gate in gates):
        yield f"{failed} of {len(gates)} gates {'fails' if failed == 1 else 'fail'}"
    if results.comparison is not None:
        new = [key for key in results.comparison.new_failures if (key.editor, key.model) == (editor, model)]
        if new:
            yield f"{len(new)} new {'failure' if len(new) == 1 else 'failures'} against the baseline"
