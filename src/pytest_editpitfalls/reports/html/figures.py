"""The figures of a run as rows for the page: suites, metrics, editors on models, published figures, rules."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from markupsafe import Markup

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.pitfalls import PublishedRow
from pytest_editpitfalls.reports.view.kinds import figure, metric_named
from pytest_editpitfalls.reports.view.run import RunView
from pytest_editpitfalls.reports.view.tables import STRENGTHS, Controlled, Group, controlled_of
from pytest_editpitfalls.results.records import AggregateRecord, CaseRecord, MetricAggregate

from .charts import Axis, axis_of, forest, histogram, share_bar
from .words import OUTCOMES, MetricWords, label_of, words_of


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of one editor on one model: the numbers, and the drawing of them."""

    label: str
    cell: MetricAggregate
    beside: Controlled | None
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
    """The cases of one rule (or relation) with one editor on one model; ``name`` is the rule in words."""

    name: str
    id: str
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
    link: str


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
    controlled: bool


def suite_parts(view: RunView) -> list[SuitePart]:
    """Return the suites in the order of the run, with all their figures."""
    aggregates: dict[str, list[AggregateRecord]] = {suite: [] for suite in view.pitfalls}
    for aggregate in view.results.aggregates:
        aggregates[aggregate.suite].append(aggregate)
    return [_suite(place, name, view, members) for place, (name, members) in enumerate(aggregates.items()) if members]


def outcome_counts(cases: Iterable[CaseRecord]) -> dict[str, int]:
    """Return outcome -> number of cases, in the page's order, without those that do not occur."""
    counts: Counter[str] = Counter(case.outcome for case in cases)
    return {name: counts[name] for name in OUTCOMES if counts[name]}


def best_of(name: str, cells: Sequence[tuple[float | None, bool | None]]) -> set[int]:
    """Return the places of the best value among reliable ones, as shown; none where all are equal or alone."""
    metric = metric_named(name)
    if metric is None or metric.higher_is_better is None:
        return set()
    known = {
        place: value for place, (value, reliable) in enumerate(cells) if value is not None and reliable is not False
    }
    shown = {place: figure(name, value) for place, value in known.items()}
    if len(set(shown.values())) < 2:
        return set()
    wanted = figure(name, (max if metric.higher_is_better else min)(known.values()))
    return {place for place, text in shown.items() if text == wanted}


def _suite(place: int, name: str, view: RunView, aggregates: Sequence[AggregateRecord]) -> SuitePart:
    kind = view.pitfalls[name]
    members = {_group(aggregate): view.cases.get(_group(aggregate), []) for aggregate in aggregates}
    published = [view.published(aggregate) for aggregate in aggregates]
    names = view.metrics_of(name)
    words = {metric: words_of(metric, [kind]) for metric in names}
    # what stands beside its score has no lines of its own
    beside = [controlled_of(aggregate.metrics, kind) for aggregate in aggregates]
    spoken_for = {
        part
        for known in ([] if kind is None else kind.metrics)
        if any(known.name in each for each in beside)
        for part in (known.control, known.lift)
    }
    metrics = [
        _metric(words[metric], metric, view, aggregates, published) for metric in names if metric not in spoken_for
    ]
    rules = [rule for group, cases in members.items() for rule in _rules(group, cases, names, view.rules)]
    rules.sort(key=lambda rule: rule.name)
    rows = [row for row in published if row is not None]
    return SuitePart(
        visible(name),
        visible(view.kinds[name]),
        f"suite-{place}",
        {label_of(a.editor, a.model): _outcomes(a, members[_group(a)]) for a in aggregates},
        metrics,
        rules,
        list(words.values()),
        f"{visible(rows[0].suite)}, {rows[0].n} cases; {visible(rows[0].citation)}" if rows else None,
        any(beside),
    )


def matrix(suites: Sequence[SuitePart]) -> list[tuple[str, list[Outcomes | None]]]:
    """Return one row per editor and model, with one cell per suite."""
    labels = dict.fromkeys(label for suite in suites for label in suite.outcomes)
    return [(label, [suite.outcomes.get(label) for suite in suites]) for label in labels]


def _outcomes(aggregate: AggregateRecord, cases: Sequence[CaseRecord]) -> Outcomes:
    counts, reason = outcome_counts(cases), visible(aggregate.reliable_reason or "")
    return Outcomes(
        visible(aggregate.suite), counts.get("passed", 0), len(cases), share_bar(counts), reason, _view_of(aggregate)
    )


def _view_of(aggregate: AggregateRecord) -> str:
    """Return the link to the cases of an aggregate: the case table, filtered."""
    chosen = {name: visible(getattr(aggregate, name)) for name in ("suite", "editor", "model")}
    return f"#{urlencode(chosen)}"


def _metric(
    words: MetricWords,
    name: str,
    view: RunView,
    aggregates: Sequence[AggregateRecord],
    published: Sequence[PublishedRow | None],
) -> MetricFigures:
    kind = view.pitfalls[aggregates[0].suite]
    whole = zip(aggregates, published, strict=True)
    parts = ((each, None) for each in view.results.by_strength if each.suite == aggregates[0].suite)
    rows = [
        (
            aggregate,
            aggregate.metrics[name],
            None if row is None else row.metrics.get(name),
            controlled_of(aggregate.metrics, kind).get(name),
        )
        for aggregate, row in (*whole, *parts)
        if name in aggregate.metrics
    ]
    drawn = [v for _, cell, other, _ in rows for v in (cell.value, cell.low, cell.high, other)]
    axis = axis_of(name, [*drawn, *(each.control.value for *_, each in rows if each is not None)])
    figures = []
    for aggregate, cell, other, controls in rows:
        values = _values(view.cases_of(aggregate), name)
        # per-case values lie wider than means: their own axis
        spread = histogram(spread_axis(name, values), values) if len(set(values)) > 1 else None
        label = label_of(aggregate.editor, aggregate.model)
        label += f", {STRENGTHS[aggregate.strength]}" if aggregate.strength else ""
        control = None if controls is None else controls.control.value
        drawing = forest(axis, cell.value, cell.low, cell.high, published=other, control=control)
        figures.append(Figure(label, cell, controls, other, drawing, spread, aggregate.reliable, len(values)))
    n_whole = sum(name in each.metrics for each in aggregates)
    best = best_of(name, [(figure.cell.value, figure.reliable) for figure in figures[:n_whole]])
    return MetricFigures(words, axis, figures, best)


def spread_axis(name: str, values: Sequence[float]) -> Axis:
    """Return the axis of a metric's per-case values: its range, open ends cut where 2 % of the cases lie beyond."""
    ordered = sorted(values)
    floor = ordered[len(ordered) // 50] if ordered else 0.0
    return axis_of(name, [max(value, floor) for value in ordered])


def _values(cases: Iterable[CaseRecord], name: str) -> list[float]:
    values = (case.metrics.get(name) for case in cases if case.is_scored)
    return [value for value in values if value is not None and math.isfinite(value)]


def _rules(group: Group, cases: Sequence[CaseRecord], names: Sequence[str], in_words: Mapping[str, str]) -> list[Rule]:
    by_rule: dict[str, list[CaseRecord]] = {}
    for case in cases:
        by_rule.setdefault(case.rule, []).append(case)
    rules = []
    for rule, members in by_rule.items():
        counts, known = outcome_counts(members), {name: _values(members, name) for name in names}
        means = {name: math.fsum(values) / len(values) if values else None for name, values in known.items()}
        label = label_of(group[1], group[2])
        words = in_words[rule] or "(no rule)"
        rules.append(Rule(words, visible(rule), label, len(members), counts, share_bar(counts), means))
    return rules


def _group(aggregate: AggregateRecord) -> Group:
    return aggregate.suite, aggregate.editor, aggregate.model
