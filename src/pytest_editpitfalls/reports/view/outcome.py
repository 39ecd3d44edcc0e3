"""What a run comes to, in one line for each editor and model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_editpitfalls.escaping import visible

from .verdicts import AnyGate, state_of

if TYPE_CHECKING:
    from .run import RunView

MISSED = ("failed", "xfailed")
"""Outcomes of a case that missed a threshold."""


_REASONS = {
    "unreliable": "its edits no longer take as in the baseline",
    "lost": "cases that passed in the baseline are skipped",
    "unrepeatable": "cases depended on those before them: no figure counts",
}
"""Why a run fails that the rest of the line does not say."""

State = Literal["good", "bad", "unknown"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one editor on one model.

    Attributes:
        text: the line.
        state: "bad" where a case failed or is an error, a gate failed, a score is worse than without any edit, or the
            run fails for another reason; "unknown" where no case was scored, or all that fail are known pitfalls.
    """

    text: str
    state: State


def outcomes_of(view: RunView) -> list[Outcome]:
    """Return a line for each editor and model of the run, in its order."""
    return [
        _outcome(view, editor, model)
        for editor, model in dict.fromkeys((each.editor, each.model) for each in view.results.aggregates)
    ]


def _outcome(view: RunView, editor: str, model: str) -> Outcome:
    own = {suite: cases for (suite, *pair), cases in view.cases.items() if pair == [editor, model]}
    every = [case for cases in own.values() for case in cases]
    errors = sum(case.outcome == "error" for case in every)
    scored = sum(case.is_scored and case.outcome != "error" for case in every)
    missed = {suite: sum(case.outcome in MISSED for case in cases) for suite, cases in own.items()}
    if total := sum(missed.values()):
        of = ", ".join(f"{suite} {count}" for suite, count in missed.items() if count)
        parts = [f"{total} of {scored} cases miss{'es' if total == 1 else ''} a threshold ({of})"]
    else:
        parts = [f"no threshold is missed by {scored} cases" if scored else "no case was scored"]
    known = sum(case.outcome == "xfailed" for case in every)
    if known:
        parts.append(f"{known} of them known" if known < total else "all known pitfalls")
    if errors:
        parts.append("1 error" if errors == 1 else f"{errors} errors")
    fell = [*_worse(view, editor, model), *_gates(view, editor, model)]
    own_reasons = [each.what for each in view.results.reasons if (each.editor, each.model) == (editor, model)]
    fell += [_REASONS[what] for what in dict.fromkeys(own_reasons) if what in _REASONS]
    is_bad = bool(total > known or errors or fell)
    state: State = "bad" if is_bad else "good" if scored and not total else "unknown"
    return Outcome(visible(f"{editor} on {model}: {'; '.join([*parts, *fell])}"), state)


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
