"""What things are called on the page: outcomes, states, facts, metrics and numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.pitfalls._registry import AnyPitfall
from pytest_editpitfalls.reports.view.kinds import metric_named
from pytest_editpitfalls.reports.view.words import ends
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


def number(value: float | None, digits: int = 3) -> str:
    """Return a fraction with a fixed number of digits, as the JSON and thresholds have it; "–" where unknown."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.3g}"
    if not text.strip("-0."):
        text = text.removeprefix("-")  # nobody gains from "-0.000"
    return text.replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """Return an interval in brackets, "" where there is none; a missing end is infinitely far out."""
    return ends(low, high, number, minus="−")


def signed(value: float | None) -> str:
    """Return a difference with its sign."""
    return f"+{number(value)}" if value is not None and value > 0 else number(value)


def lift_interval(cell: MetricAggregate) -> str:
    """Return the interval of a difference in brackets, "" where there is none."""
    return "" if cell.low is None or cell.high is None else f"[{signed(cell.low)}, {signed(cell.high)}]"


def duration(seconds: float | None) -> str:
    """Return a time that people read: "12.6 min"."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
