"""How far the metrics of a run differ from those of a baseline, case by case, for tables: no verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_editpitfalls.cases.case import Kind
from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.pitfalls import metrics_for

from .paired_metric import PairedMetric
from .pairing import Comparison, Pair


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of one suite with one editor on one model, over the cases that have a value on both sides.

    Attributes:
        base, now: means over these cases.
        change: ``now - base``.
        low, high: 90 % interval of the change, from two one-sided 95 % bounds; None where there is no bound.
        better: whether the interval lies on the better side of 0; False on the worse side; None where it has both, or
            the metric has no direction.
        n: paired cases with a value.
        won, lost: cases whose value got better, and worse; of a metric without a direction, fell and rose.
        has_direction: whether more or less of the metric is better.
    """

    suite: str
    editor: str
    model: str
    metric: str
    base: float
    now: float
    change: float
    low: float | None
    high: float | None
    better: bool | None
    n: int
    won: int
    lost: int
    has_direction: bool = True


def differences(comparison: Comparison, kinds: Mapping[str, Kind], *, seed: int = 0) -> list[Difference]:
    """Return the differences of all metrics, in the order of the run and of the tables."""
    return [
        found
        for group, pairs in comparison.by_figures.items()
        for metric in metrics_for(kinds[group[0]])
        if (found := _difference(group, [pair for pair in pairs if pair.counts], metric, seed)) is not None
    ]


def _difference(group: tuple[str, str, str], pairs: Sequence[Pair], metric: Metric, seed: int) -> Difference | None:
    found = PairedMetric.of(metric, group, pairs, seed)
    if found is None:
        return None
    drop = found.drop
    most_lost, most_won = drop.upper, replace(drop, differences=[-each for each in drop.differences]).upper
    low, high = (-most_lost, most_won) if metric.higher_is_better else (-most_won, most_lost)
    return Difference(
        *group,
        metric=metric.name,
        base=found.base,
        now=found.now,
        change=0.0 - drop.drop if metric.higher_is_better else drop.drop,
        low=low if math.isfinite(low) else None,
        high=high if math.isfinite(high) else None,
        better=None if metric.higher_is_better is None else True if most_lost < 0 else False if most_won < 0 else None,
        n=found.n,
        won=drop.better,
        lost=drop.worse,
        has_direction=metric.higher_is_better is not None,
    )
