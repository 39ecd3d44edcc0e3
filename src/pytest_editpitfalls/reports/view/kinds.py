"""Kinds of pitfall and metrics by the names that a stored result has; some may not be installed here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.pitfalls import METRICS, PITFALLS, Topic
from pytest_editpitfalls.pitfalls._registry import AnyPitfall
from pytest_editpitfalls.results.records import MetricAggregate

from .words import ends, percent, plain

IN_EVERY_KIND = frozenset({"es", "ps"})
"""Columns that say whether the edit took."""


def pitfall_of_record(kind: str) -> AnyPitfall | None:
    """Return the kind of this name; None where it is not installed, or cannot be imported."""
    try:
        return PITFALLS.find(kind)
    except UsageError:
        return None


def metric_named(name: str, pitfall: AnyPitfall | None = None) -> Metric | None:
    """Return a kind's metric, or any kind's where ``pitfall`` is None; None for one that is not known here."""
    if pitfall is not None:
        return next((metric for metric in pitfall.metrics if metric.name == name), None)
    return METRICS.get(name) if name in METRICS else None


def figure(name: str, value: float | None, digits: int = 1) -> str:
    """Return a metric's value as tables write it: a share in per cent, else as it is; "-" where it is unknown."""
    return percent(value, digits) if is_share(name) else plain(value)


def figure_change(name: str, change: float | None, digits: int = 1) -> str:
    """Return a difference of a metric's means with its sign: of shares in points; "?" where it is unknown."""
    if change is None:
        return "?"
    return f"{round(100 * change, digits) + 0.0:+.{digits}f}" if is_share(name) else f"{change + 0.0:+.3g}"


def is_share(name: str) -> bool:
    """Return whether a metric's values are written in per cent; one that is not known here is taken for a share."""
    metric = metric_named(name)
    return metric is None or metric.is_share


def figure_interval(name: str, cell: MetricAggregate, digits: int = 1) -> str:
    """Return the confidence interval of a metric's mean as `figure` writes values, "" where there is none."""
    return ends(cell.low, cell.high, lambda end: figure(name, end, digits))


def is_better(name: str, change: float) -> bool | None:
    """Return whether a change of a metric is for the better; None where it is unknown here, or has no direction."""
    metric = metric_named(name)
    return None if metric is None or metric.higher_is_better is None else (change > 0) == metric.higher_is_better


def without_released(names: Iterable[str], pitfalls: Iterable[AnyPitfall | None]) -> list[str]:
    """Return the metrics that stand for themselves: none that is the released code's form of another one."""
    released = {
        metric.name
        for pitfall in pitfalls
        if pitfall is not None
        for metric in pitfall.metrics
        if metric.released_form_of is not None
    }
    return [name for name in names if name not in released]


def by_columns(kinds: Iterable[AnyPitfall]) -> list[list[AnyPitfall]]:
    """Return the kinds in groups that a table can hold: those that share a column besides whether the edit took.

    A topic's kinds that measure nothing alike would make a table that is wide and mostly empty.
    """
    groups: list[list[AnyPitfall]] = []
    for kind in kinds:
        alike = [group for group in groups if any(_own(kind) & _own(other) for other in group)]
        groups = [group for group in groups if group not in alike]
        groups.append([*(other for group in alike for other in group), kind])
    return groups


def titled(topic: Topic, group: Sequence[AnyPitfall]) -> str:
    """Return the title of one of several tables of a topic: it names the kinds that are in it."""
    return f"{topic.title}: {', '.join(kind.name for kind in group)}"


def _own(kind: AnyPitfall) -> frozenset[str]:
    return frozenset(kind.columns) - IN_EVERY_KIND
