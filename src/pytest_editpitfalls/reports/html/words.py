"""What things are called on the page: outcomes, states, facts, metrics and numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.pitfalls._registry import AnyPitfall
from pytest_editpitfalls.reports.view.kinds import figure, figure_change, figure_interval, is_share, metric_named
from pytest_editpitfalls.reports.view.verdicts import bound_figure, drop_figure, p_figure
from pytest_editpitfalls.reports.view.words import ends, lift
from pytest_editpitfalls.results.records import MetricAggregate

OUTCOMES: dict[str, str] = {
    "passed": "every threshold passed",
    "failed": "a threshold failed",
    "xfailed": "a threshold failed, but the case does not decide: a gate or a baseline does",
    "skipped": "cannot be scored on this model",
    "error": "could not be computed",
}
"""Outcome -> what it means, in the order of the page."""

_DIRECTIONS: dict[bool | None, tuple[str, str]] = {
    True: ("higher is better", "↑"),
    False: ("lower is better", "↓"),
    None: ("neither higher nor lower is better", ""),
}

UNKNOWN_METRIC = "a metric that this version does not know"


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


def words_of(name: str, pitfalls: Iterable[AnyPitfall | None]) -> MetricWords:
    """Return what the page says of a metric; a name that nobody here knows stands for itself.

    Where the definitions of the kinds that it is shown for differ, each is named with its kind.
    """
    found: dict[Metric, str] = {}
    for pitfall in pitfalls:
        if pitfall is not None and (metric := metric_named(name, pitfall)) is not None:
            found.setdefault(metric, pitfall.name)
    if not found:
        return MetricWords(visible(name), visible(name), "", UNKNOWN_METRIC, "", "", "")
    first = next(iter(found))
    several = len(found) > 1
    return MetricWords(
        name,
        first.title,
        " ".join(f"{kind}: {each.question}" if several else each.question for each, kind in found.items()),
        "; ".join(f"{kind}: {each.definition}" if several else each.definition for each, kind in found.items()),
        *_DIRECTIONS[first.higher_is_better],
        "; ".join(dict.fromkeys(each.source for each in found)),
    )


def label_of(editor: str, model: str) -> str:
    """Return how an editor on a model is called."""
    return f"{visible(editor)} · {visible(model)}"


def typographic(text: str) -> str:
    """Return a figure that the reports' view has written with a minus sign, and a dash where it is unknown."""
    return "–" if text == "-" else text.replace("-", "−")


def mean(value: float | None, name: str, digits: int = 1) -> str:
    """Return the mean of a metric as all tables write it: a share in per cent, another value as it is."""
    return typographic(figure(name, value, digits))


def mean_interval(cell: MetricAggregate, name: str) -> str:
    """Return the interval of a metric's mean in brackets, "" where there is none."""
    return typographic(figure_interval(name, cell))


def change(value: float | None, name: str) -> str:
    """Return a difference of means with its sign: of shares in points."""
    return typographic(figure_change(name, value))


def lift_over(cell: MetricAggregate) -> str:
    """Return a lift in points with its interval."""
    return typographic(lift(cell))


def scale(axis_low: float, axis_high: float, name: str) -> str:
    """Return the ends of an axis: "0 … 100 %"."""
    return f"{mean(axis_low, name, 0)} … {mean(axis_high, name, 0)}{' %' if is_share(name) else ''}"


def bound(value: float | None) -> str:
    """Return a figure that a bound is held against: a fraction, as the gate is written."""
    return typographic(bound_figure(value))


def bound_interval(low: float | None, high: float | None) -> str:
    """Return the interval of a figure that a bound is held against, "" where there is none."""
    return typographic(ends(low, high))


def drop(value: float | None) -> str:
    """Return a figure of a gate on a drop: a fraction."""
    return typographic(drop_figure(value))


def p_value(value: float | None) -> str:
    """Return a p-value."""
    return typographic(p_figure(value))


def duration(seconds: float | None) -> str:
    """Return a time that people read: "12.6 min"."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
