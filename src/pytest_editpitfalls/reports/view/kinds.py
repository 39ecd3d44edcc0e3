"""Kinds of pitfall and metrics by the names that a stored result has; some may not be installed here."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.pitfalls import METRICS, PITFALLS
from pytest_editpitfalls.pitfalls._registry import AnyPitfall


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


def is_better(name: str, change: float) -> bool | None:
    """Return whether a change of a metric is for the better; None for a metric that is not known here."""
    metric = metric_named(name)
    return None if metric is None else (change > 0) == metric.higher_is_better


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
