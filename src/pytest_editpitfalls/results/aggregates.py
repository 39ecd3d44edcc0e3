"""Case values to suite values: means with 95 % confidence intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import get_args

from pytest_editpitfalls.cases.case import Kind, Strength
from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.options.defaults import SUCCESS_FLOOR
from pytest_editpitfalls.options.editor_labels import editor_name, seed_of, without_seed
from pytest_editpitfalls.pitfalls import metrics_for, pitfall_of
from pytest_editpitfalls.program import NOTHING_CHANGED
from pytest_editpitfalls.statistics.intervals import mean_interval
from pytest_editpitfalls.statistics.seeds import SeedSpread
from pytest_editpitfalls.verdicts.reliability import doubtful_reason, is_reliable, unreliable_reason

from .records import AggregateRecord, CaseRecord, MetricAggregate, RelationInterval


def aggregate(
    cases: Iterable[CaseRecord],
    kinds: Mapping[str, Kind],
    *,
    success_floor: float = SUCCESS_FLOOR,
) -> list[AggregateRecord]:
    """Return one record per (suite, editor, model), in order of first appearance.

    An editor that ran under several seeds has one record, under its label without them: see `aggregate_seeds` for
    each seed by itself.

    Args:
        cases: records of any outcome; cases that are not scored (`CaseRecord.is_scored`) do not count, nor as zero.
        kinds: suite name -> kind.
        success_floor: edit success (fraction) under which a record is marked unreliable, by its interval.
    """
    pooled: dict[tuple[str, str, str], dict[str, list[CaseRecord]]] = {}
    for (suite, editor, model), members in _groups(cases).items():
        pooled.setdefault((suite, without_seed(editor), model), {})[editor] = members
    records = []
    for (suite, editor, model), by_label in pooled.items():
        if len(by_label) == 1:
            (label,) = by_label
            records.append(_aggregate(suite, label, model, by_label[label], kinds[suite], success_floor))
        else:
            records.append(_aggregate_pooled(suite, editor, model, by_label, kinds[suite], success_floor))
    return records


def aggregate_seeds(
    cases: Iterable[CaseRecord],
    kinds: Mapping[str, Kind],
    *,
    success_floor: float = SUCCESS_FLOOR,
) -> list[AggregateRecord]:
    """Return a record of each seed by itself, of the editors that ran under several; arguments as of `aggregate`."""
    groups = _groups(cases)
    labels = Counter((suite, without_seed(editor), model) for suite, editor, model in groups)
    return [
        _aggregate(suite, editor, model, members, kinds[suite], success_floor)
        for (suite, editor, model), members in groups.items()
        if labels[suite, without_seed(editor), model] > 1
    ]


def _groups(cases: Iterable[CaseRecord]) -> dict[tuple[str, str, str], list[CaseRecord]]:
    groups: dict[tuple[str, str, str], list[CaseRecord]] = {}
    for case in cases:
        groups.setdefault((case.suite, case.editor, case.model), []).append(case)
    return groups


def _aggregate(
    suite: str, editor: str, model: str, members: Sequence[CaseRecord], kind: Kind, floor: float
) -> AggregateRecord:
    scored = [case for case in members if case.is_scored]
    metrics = {metric.name: summarise(metric, scored) for metric in metrics_for(kind)}
    unchanged = sum(NOTHING_CHANGED in case.notes for case in scored)
    record = AggregateRecord(
        suite=suite, editor=editor, model=model, n=len(scored), metrics=metrics, unchanged=unchanged
    )
    _mark(record, kind, floor)
    return record


def _aggregate_pooled(
    suite: str,
    editor: str,
    model: str,
    by_label: Mapping[str, Sequence[CaseRecord]],
    kind: Kind,
    floor: float,
) -> AggregateRecord:
    """The record of several seeds; a case counts where it was scored under each of them."""
    tables = [{case.id: case for case in members if case.is_scored} for members in by_label.values()]
    rows = [[table[name] for table in tables] for name in tables[0] if all(name in table for table in tables)]
    metrics = {metric.name: summarise_seeds(metric, rows) for metric in metrics_for(kind)}
    unchanged = sum(all(NOTHING_CHANGED in case.notes for case in row) for row in rows)
    record = AggregateRecord(
        suite=suite,
        editor=editor,
        model=model,
        seeds=[each for label in by_label if (each := seed_of(label)) is not None],
        identical=bool(rows) and all(_same(row) for row in rows),
        n=len(rows),
        metrics=metrics,
        unchanged=unchanged,
    )
    _mark(record, kind, floor)
    return record


def _same(row: Sequence[CaseRecord]) -> bool:
    """Whether a case gave the same under every seed, to the last bit."""
    return all((each.metrics, each.probes) == (row[0].metrics, row[0].probes) for each in row)


def summarise_seeds(metric: Metric, rows: Iterable[Sequence[CaseRecord]]) -> MetricAggregate:
    """Return mean and intervals of one metric over cases that ran under several seeds.

    Args:
        rows: the records of one case under each seed, for each case. A case counts where the metric is known under
            each.

    The intervals are those of the cases' means over the seeds, with the variance between the seeds added to them
    (`SeedSpread`), and cut to the metric's range.
    """
    table, cases = [], []
    for row in rows:
        values = [value for each in row if (value := each.metrics.get(metric.name)) is not None]
        if len(values) == len(row):
            table.append(values)
            mean = math.fsum(values) / len(values)
            cases.append(row[0].model_copy(update={"metrics": {metric.name: mean}}))
    if not table:
        return MetricAggregate(value=None, low=None, high=None, n=0)
    summary = summarise(metric, cases)
    spread = SeedSpread.of(table, [case.cluster for case in cases])
    summary.seed_sd = spread.sd
    ends: list[MetricAggregate | RelationInterval] = [summary]
    if summary.by_relation is not None:
        ends.append(summary.by_relation)
    for each in ends:
        low, high = spread.widened(each.low, each.high)
        each.low = low if low is None or metric.low is None else max(low, metric.low)
        each.high = None if high is None else min(high, metric.high)
    return summary


def aggregate_strengths(
    cases: Iterable[CaseRecord],
    kinds: Mapping[str, Kind],
    *,
    success_floor: float = SUCCESS_FLOOR,
) -> list[AggregateRecord]:
    """Return the same over the strict and over the default cases, of suites that have both; whole suite by suite."""
    by_suite: dict[str, dict[Strength, list[CaseRecord]]] = {}
    for case in cases:
        by_suite.setdefault(case.suite, {}).setdefault(case.strength, []).append(case)
    strengths: tuple[Strength, ...] = get_args(Strength)
    return [
        record.model_copy(update={"strength": strength})
        for members in by_suite.values()
        if len(members) == len(strengths)
        for strength in strengths
        for record in aggregate(members[strength], kinds, success_floor=success_floor)
    ]


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
    """Say in the records of an editor (by its label without suffixes) on a model that none of its figures counts."""
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
