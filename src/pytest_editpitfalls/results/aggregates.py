"""Case values to suite values: means with 95 % confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import partial

from pytest_editpitfalls.cases.case import Kind
from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.options.defaults import SUCCESS_FLOOR
from pytest_editpitfalls.options.editor_labels import editor_name
from pytest_editpitfalls.pitfalls import metrics_for, pitfall_of
from pytest_editpitfalls.program import NOTHING_CHANGED
from pytest_editpitfalls.statistics.intervals import mean_interval
from pytest_editpitfalls.verdicts.reliability import doubtful_reason, is_reliable, unreliable_reason

from .records import AggregateRecord, CaseRecord, MetricAggregate, RelationInterval


def aggregate(
    cases: Iterable[CaseRecord],
    kinds: Mapping[str, Kind],
    *,
    success_floor: float = SUCCESS_FLOOR,
) -> list[AggregateRecord]:
    """Return one record per (suite, editor, model), in order of first appearance.

    Args:
        cases: records of any outcome; cases that are not scored (`CaseRecord.is_scored`) do not count, nor as zero.
        kinds: suite name -> kind.
        success_floor: edit success (fraction) under which a record is marked unreliable, by its interval.
    """
    groups: dict[tuple[str, str, str], list[CaseRecord]] = {}
    for case in cases:
        groups.setdefault((case.suite, case.editor, case.model), []).append(case)
    records = []
    for (suite, editor, model), members in groups.items():
        scored = [case for case in members if case.is_scored]
        kind = kinds[suite]
        metrics = {metric.name: summarise(metric, scored) for metric in metrics_for(kind)}
        unchanged = sum(NOTHING_CHANGED in case.notes for case in scored)
        record = AggregateRecord(
            suite=suite, editor=editor, model=model, n=len(scored), metrics=metrics, unchanged=unchanged
        )
        _mark(record, kind, success_floor)
        records.append(record)
    return records


def aggregate_held(
    cases: Iterable[CaseRecord],
    kinds: Mapping[str, Kind],
    *,
    success_floor: float = SUCCESS_FLOOR,
) -> list[AggregateRecord]:
    """Return the same over the cases whose facts the model holds; there is no record where none is held."""
    held = [case for case in cases if case.held]
    return aggregate(held, kinds, success_floor=success_floor)


def _mark(record: AggregateRecord, kind: Kind, floor: float) -> None:
    """Say in ``record`` whether its editor edits often enough for its figures to mean something."""
    success = record.metrics["es"]
    record.reliable = is_reliable(success.low, success.high, floor)
    if success.value is None:
        record.reliable_reason = "edit success is unknown: no case has a value of es"
    elif record.reliable is False or (record.reliable is None and success.value < floor):
        reason = unreliable_reason if record.reliable is False else doubtful_reason
        record.reliable_reason = reason(
            record.editor, record.model, {record.suite: success.value}, floor, figures=pitfall_of(kind).topic.name
        )


def mark_unrepeatable(records: Iterable[AggregateRecord], editor: str, model: str, reason: str) -> None:
    """Say in the records of an editor (by its label without ``+mle``) on a model that none of its figures counts."""
    for record in records:
        if editor_name(record.editor) == editor and record.model == model:
            record.repeatable, record.reliable, record.reliable_reason = False, False, reason


def summarise(metric: Metric, cases: Iterable[CaseRecord]) -> MetricAggregate:
    """Return mean and intervals of one metric over the cases in which it is known.

    The interval clusters by subject of edit 1 (`CaseRecord.cluster`); beside it stands one by relation or rule, where
    every case names its own. With a value there is always an interval, unless the metric's range has no end.
    """
    every = ((case, case.metrics.get(metric.name)) for case in cases)
    known = [(case, value) for case, value in every if value is not None and math.isfinite(value)]
    if not known:
        return MetricAggregate(value=None, low=None, high=None, n=0)
    values = [value for _, value in known]
    interval = partial(mean_interval, values, low=metric.low, high=metric.high, is_binary=metric.is_binary)
    own = interval(labels=[case.cluster for case, _ in known])
    rules = [case.rule for case, _ in known]
    other = interval(labels=rules) if all(rules) else None
    return MetricAggregate(
        value=math.fsum(values) / len(values),
        n=len(values),
        **asdict(own),
        by_relation=None if other is None else RelationInterval(**asdict(other)),
    )
