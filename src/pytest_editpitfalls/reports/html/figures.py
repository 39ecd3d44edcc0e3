"""The figures of a run as rows for the page: suites, metrics, editors on models, published figures, rules."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.pitfalls import METRICS, PublishedRow, pitfall_of
from pytest_editpitfalls.reports.tables import MARK, Row
from pytest_editpitfalls.reports.tables import unreliable as unreliable_lines
from pytest_editpitfalls.results.records import (
    AggregateRecord,
    CaseRecord,
    MetricAggregate,
    RunResults,
    SuiteRecord,
)
from pytest_editpitfalls.verdicts.reliability import SUCCESS_FLOOR

from .charts import Axis, axis_of, forest, histogram, share_bar
from .words import OUTCOMES, PLAIN, UNKNOWN_METRIC, direction

Group = tuple[str, str, str]
"""(suite, editor, model)."""


@dataclass(frozen=True, slots=True)
class MetricWords:
    """What the page says of a metric."""

    name: str
    title: str
    plain: str
    text: str
    better: str
    arrow: str
    source: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of one editor on one model: the numbers, and the drawing of them."""

    label: str
    cell: MetricAggregate
    published: float | None
    drawing: Markup
    spread: Markup | None
    reliable: bool | None
    counted: int


@dataclass(frozen=True, slots=True)
class MetricFigures:
    """One metric of a suite, for every editor and model."""

    metric: MetricWords
    axis: Axis
    figures: list[Figure]
    best: set[int]


@dataclass(frozen=True, slots=True)
class Rule:
    """The cases of one rule (or relation) with one editor on one model."""

    name: str
    label: str
    n: int
    outcomes: dict[str, int]
    bar: Markup
    values: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How the cases of one suite with one editor on one model came out."""

    suite: str
    passed: int
    total: int
    bar: Markup
    reason: str


@dataclass(frozen=True, slots=True)
class SuitePart:
    """All that the page shows of one suite."""

    name: str
    kind: str
    anchor: str
    outcomes: dict[str, Outcomes]
    metrics: list[MetricFigures]
    rules: list[Rule]
    rule_metrics: list[MetricWords]
    published: str | None


def label_of(editor: str, model: str) -> str:
    """Return how an editor on a model is called."""
    return f"{visible(editor)} · {visible(model)}"


def words_of(name: str) -> MetricWords:
    """Return what the page says of a metric; a name that this version does not know stands for itself."""
    if name not in METRICS:
        return MetricWords(visible(name), visible(name), "", UNKNOWN_METRIC, "", "", "")
    metric = METRICS.get(name)
    arrow = "↑" if metric.higher_is_better else "↓"
    plain, better = PLAIN.get(name, ""), direction(metric)
    return MetricWords(name, metric.title, plain, metric.definition, better, arrow, metric.source)


def suite_parts(results: RunResults) -> list[SuitePart]:
    """Return the suites in the order of the run, with all their figures."""
    cases: dict[Group, list[CaseRecord]] = {}
    for case in results.cases:
        cases.setdefault((case.suite, case.editor, case.model), []).append(case)
    records = {suite.name: suite for suite in results.run.suites}
    sources = {model.name: model.source for model in results.run.models}
    suites: dict[str, list[AggregateRecord]] = {suite.name: [] for suite in results.run.suites}
    for aggregate in results.aggregates:
        suites.setdefault(aggregate.suite, []).append(aggregate)
    return [
        _suite(place, name, records.get(name), aggregates, cases, sources)
        for place, (name, aggregates) in enumerate(suites.items())
        if aggregates
    ]


def outcome_counts(cases: Iterable[CaseRecord]) -> dict[str, int]:
    """Return outcome -> number of cases, in the page's order, without those that do not occur."""
    counts: Counter[str] = Counter(case.outcome for case in cases)
    return {name: counts[name] for name in OUTCOMES if counts[name]}


def published_for(
    aggregate: AggregateRecord, record: SuiteRecord | None, source: str | None
) -> PublishedRow | None:
    """Return the published figures for the same editor, model and suite; None where one of them is another.

    Only suites in the published format have them; round suites are told apart by their name.
    """
    if record is None or record.format != "published":
        return None
    return pitfall_of(record.kind).published_row(record.name, aggregate.editor, (aggregate.model, source))


def best_of(name: str, cells: Sequence[tuple[float | None, bool | None]]) -> set[int]:
    """Return the places of the best value among reliable ones, as shown; none where all are equal or alone."""
    if name not in METRICS:
        return set()
    shown = {
        place: round(value, 3)
        for place, (value, reliable) in enumerate(cells)
        if value is not None and reliable is not False
    }
    if len(set(shown.values())) < 2:
        return set()
    wanted = (max if METRICS.get(name).higher_is_better else min)(shown.values())
    return {place for place, value in shown.items() if value == wanted}


def _suite(
    place: int,
    name: str,
    record: SuiteRecord | None,
    aggregates: Sequence[AggregateRecord],
    cases: Mapping[Group, list[CaseRecord]],
    sources: Mapping[str, str | None],
) -> SuitePart:
    members = {_group(aggregate): cases.get(_group(aggregate), []) for aggregate in aggregates}
    found = [published_for(aggregate, record, sources.get(aggregate.model)) for aggregate in aggregates]
    names = list(dict.fromkeys(metric for aggregate in aggregates for metric in aggregate.metrics))
    metrics = [_metric(metric, aggregates, members, found) for metric in names]
    rules = [rule for group, cases_of in members.items() for rule in _rules(group, cases_of, names)]
    rules.sort(key=lambda rule: rule.name)
    outcomes = {label_of(a.editor, a.model): _outcomes(a, members[_group(a)]) for a in aggregates}
    rows = [row for row in found if row is not None]
    published = f"{visible(rows[0].suite)}, {rows[0].n} cases" if rows else None
    return SuitePart(
        visible(name),
        record.kind if record is not None else "",
        f"suite-{place}",
        outcomes,
        metrics,
        rules,
        [words_of(metric) for metric in names],
        published,
    )


def matrix(suites: Sequence[SuitePart]) -> list[tuple[str, list[Outcomes | None]]]:
    """Return one row per editor and model, with one cell per suite."""
    labels = dict.fromkeys(label for suite in suites for label in suite.outcomes)
    return [(label, [suite.outcomes.get(label) for suite in suites]) for label in labels]


def unreliable(results: RunResults) -> list[str]:
    """Return one line per editor, model and kind of figures that say little."""
    kinds = {suite.name: suite.kind for suite in results.run.suites}
    rows = [
        Row(a.suite, a.editor, a.model, a.n, "", a.metrics, reliable=a.reliable)
        for a in results.aggregates
        if a.suite in kinds
    ]
    floor = results.run.success_floor
    lines = unreliable_lines(rows, kinds, SUCCESS_FLOOR if floor is None else floor)
    return [line.removeprefix(f"{MARK} ") for line in lines]


def _outcomes(aggregate: AggregateRecord, cases: Sequence[CaseRecord]) -> Outcomes:
    counts = outcome_counts(cases)
    reason = visible(aggregate.reliable_reason or "")
    return Outcomes(
        visible(aggregate.suite), counts.get("passed", 0), len(cases), outcome_bar(counts), reason
    )


def outcome_bar(counts: Mapping[str, int]) -> Markup:
    """Draw outcomes as parts of a bar."""
    return share_bar(list(counts.items()))


def _metric(
    name: str,
    aggregates: Sequence[AggregateRecord],
    members: Mapping[Group, list[CaseRecord]],
    published: Sequence[PublishedRow | None],
) -> MetricFigures:
    rows = [
        (aggregate, aggregate.metrics[name], None if row is None else row.metrics.get(name))
        for aggregate, row in zip(aggregates, published, strict=True)
        if name in aggregate.metrics
    ]
    axis = axis_of(name, [v for _, cell, told in rows for v in (cell.value, cell.low, cell.high, told)])
    figures = []
    for aggregate, cell, told in rows:
        values = _values(members[_group(aggregate)], name)
        # per-case values lie wider than means: their own axis
        spread = histogram(spread_axis(name, values), values) if len(set(values)) > 1 else None
        figures.append(
            Figure(
                label_of(aggregate.editor, aggregate.model),
                cell,
                told,
                forest(axis, cell.value, cell.low, cell.high, published=told),
                spread,
                aggregate.reliable,
                len(values),
            )
        )
    best = best_of(name, [(figure.cell.value, figure.reliable) for figure in figures])
    return MetricFigures(words_of(name), axis, figures, best)


def spread_axis(name: str, values: Sequence[float]) -> Axis:
    """Return the axis of a metric's per-case values: its range, open ends cut where 2 % of the cases lie beyond."""
    ordered = sorted(values)
    floor = ordered[len(ordered) // 50] if ordered else 0.0
    return axis_of(name, [max(value, floor) for value in ordered])


def _values(cases: Iterable[CaseRecord], name: str) -> list[float]:
    values = (case.metrics.get(name) for case in cases if case.is_scored)
    return [value for value in values if value is not None and math.isfinite(value)]


def _rules(group: Group, cases: Sequence[CaseRecord], names: Sequence[str]) -> list[Rule]:
    by_rule: dict[str, list[CaseRecord]] = {}
    for case in cases:
        by_rule.setdefault(case.rule, []).append(case)
    rules = []
    for rule, members in by_rule.items():
        counts = outcome_counts(members)
        values: dict[str, float | None] = {}
        for name in names:
            known = _values(members, name)
            values[name] = math.fsum(known) / len(known) if known else None
        rules.append(
            Rule(
                visible(rule) or "(no rule)",
                label_of(group[1], group[2]),
                len(members),
                counts,
                outcome_bar(counts),
                values,
            )
        )
    return rules


def _group(aggregate: AggregateRecord) -> Group:
    return aggregate.suite, aggregate.editor, aggregate.model
