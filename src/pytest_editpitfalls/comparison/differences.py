"""How far the metrics of a run differ from those of a baseline, case by case, for tables: no verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_editpitfalls.cases.case import Kind
from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.pitfalls import metrics_for

from .drops import PairedDrop, reach_of
from .pairing import Comparison, Pair


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of one suite with one editor on one model, over the cases that have a value on both sides.

    Attributes:
        suite, editor, model, metric: what it is about.
        base, now: means over these cases.
        change: ``now - base``.
        low, high: 90 % interval of the change, from two one-sided 95 % bounds; None where there is no bound.
        better: whether the interval lies on the better side of 0; False on the worse side; None where it has both.
        n: paired cases with a value.
        won, lost: cases whose value got better, and worse.
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


def differences(comparison: Comparison, kinds: Mapping[str, Kind], *, seed: int = 0) -> list[Difference]:
    """Return the differences of all metrics, in the order of the run and of the tables.

    Args:
        comparison: the paired cases.
        kinds: suite -> kind.
        seed: seed of the bootstraps.
    """
    groups: dict[tuple[str, str, str], list[Pair]] = {}
    for pair in comparison.pairs:
        if pair.now.is_scored and pair.now.outcome != "error":
            groups.setdefault(pair.key[:3], []).append(pair)
    return [
        found
        for group, pairs in groups.items()
        for metric in metrics_for(kinds[group[0]])
        if (found := _difference(group, pairs, metric, kinds[group[0]], seed)) is not None
    ]


def _difference(
    group: tuple[str, str, str], pairs: Sequence[Pair], metric: Metric, kind: Kind, seed: int
) -> Difference | None:
    values = [(pair, pair.base.metrics.get(metric.name), pair.now.metrics.get(metric.name)) for pair in pairs]
    both = [(pair, there, here) for pair, there, here in values if there is not None and here is not None]
    if not both:
        return None
    labels = [pair.base.subject or f"\0{pair.key[3]}" for pair, _, _ in both]
    sign = 1.0 if metric.higher_is_better else -1.0
    worse = [sign * (there - here) for _, there, here in both]
    reach = reach_of(metric)
    text = "\0".join([str(seed), metric.name, *group])
    drop = PairedDrop(worse, labels, metric.is_binary, reach, text)
    gain = PairedDrop([-each for each in worse], labels, metric.is_binary, reach, text)
    most_lost, most_won = drop.upper, gain.upper
    low, high = (-most_lost, most_won) if metric.higher_is_better else (-most_won, most_lost)
    return Difference(
        *group,
        metric=metric.name,
        base=math.fsum(there for _, there, _ in both) / len(both),
        now=math.fsum(here for _, _, here in both) / len(both),
        change=0.0 - sign * drop.drop,
        low=low if math.isfinite(low) else None,
        high=high if math.isfinite(high) else None,
        better=True if most_lost < 0 else False if most_won < 0 else None,
        n=len(both),
        won=drop.better,
        lost=drop.worse,
    )
