"""Gates held against aggregates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pytest_editpitfalls.verdicts.thresholds import Gate, hold

from .records import AggregateRecord, GateRecord

NO_EDIT_TOOK = "no edit took"
"""Beginning of the reason why a gate fails although its metric may keep the bound."""


def evaluate_gates(
    gates: Iterable[Gate],
    aggregates: Sequence[AggregateRecord],
    *,
    part_of: Callable[[AggregateRecord], str | None] = lambda _: None,
) -> list[GateRecord]:
    """Return one record per gate, editor and model.

    ``part_of`` says why the run has a part of an aggregate's cases only, so that its gates are not evaluated; None
    where it has all.

    A gate of a suite in which no edit took fails: an editor that does nothing breaks nothing. (One about edit success
    itself is held against its value, unless nothing was changed at all.) A gate whose suite was not run, or whose
    metric no case has, is not evaluated: its ``passed`` is null and the reason says why. That is never a pass.
    """
    records = []
    for gate in gates:
        named = [aggregate for aggregate in aggregates if aggregate.suite == gate.suite]
        if not named:
            records.append(
                GateRecord(
                    gate=str(gate),
                    suite=gate.suite,
                    metric=gate.threshold.metric,
                    bound=gate.threshold.bound,
                    passed=None,
                    reason=f"suite '{gate.suite}' has no cases in this run",
                )
            )
        records += [_evaluate(gate, aggregate, part_of(aggregate)) for aggregate in named]
    return records


def is_untaken(aggregate: AggregateRecord, metric: str) -> bool:
    """Whether no edit of an aggregate took, so that ``metric`` is about the unedited model.

    Where nothing was changed that holds for edit success, too: the unedited model may prefer the new object by itself.
    """
    if not aggregate.n:
        return False
    if aggregate.unchanged == aggregate.n:
        return True
    success = aggregate.metrics.get("es")
    return metric not in {"es", "ps"} and success is not None and success.value == 0.0


def untaken_reason(aggregate: AggregateRecord) -> str:
    """Return why a gate fails where no edit took."""
    why = "nothing was changed" if aggregate.unchanged == aggregate.n else "es = 0"
    return f"{NO_EDIT_TOOK} ({why} in {aggregate.n} scored case{'' if aggregate.n == 1 else 's'})"


def _evaluate(gate: Gate, aggregate: AggregateRecord, part: str | None) -> GateRecord:
    summary = aggregate.metrics.get(gate.threshold.metric)
    result = hold(gate.threshold, None if summary is None else summary.value)
    reason = part
    if part is not None:
        result = replace(result, passed=None)
    elif result.passed is None:
        scored = f"{aggregate.n} scored case{'' if aggregate.n == 1 else 's'}"
        reason = f"{gate.threshold.metric} is unknown: {scored}, none of them with a value"
    elif is_untaken(aggregate, gate.threshold.metric):
        result = replace(result, passed=False)
        reason = untaken_reason(aggregate)
    elif result.passed is False:
        reason = str(result)
    return GateRecord(
        gate=str(gate),
        suite=aggregate.suite,
        editor=aggregate.editor,
        model=aggregate.model,
        metric=gate.threshold.metric,
        value=result.value,
        low=None if summary is None else summary.low,
        high=None if summary is None else summary.high,
        bound=gate.threshold.bound,
        passed=result.passed,
        reason=reason,
        reliable=aggregate.reliable,
    )
