"""One metric of paired cases: its means on both sides, and what can be said of how much worse it got."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.statistics.drops import PairedDrop

from .pairing import Pair


@dataclass(frozen=True)
class PairedMetric:
    """A metric over the cases that have a value on both sides.

    Attributes:
        base: mean in the baseline.
        now: mean here.
        n: cases.
        drop: the differences.
    """

    base: float
    now: float
    n: int
    drop: PairedDrop

    @classmethod
    def of(cls, metric: Metric, group: tuple[str, str, str], pairs: Sequence[Pair], seed: int) -> PairedMetric | None:
        """Return the metric of a group's pairs, or None where none of them has a value on both sides.

        Args:
            group: (suite, editor, model) of the pairs.
            seed: seed of the run.
        """
        known = [(pair, there, here) for pair in pairs for there, here in [pair.values(metric.name)]]
        both = [(pair, there, here) for pair, there, here in known if there is not None and here is not None]
        if not both:
            return None
        sides = [(pair.cluster, there, here) for pair, there, here in both]
        drop = PairedDrop.of(
            metric,
            sides,
            "\0".join([str(seed), metric.name, *group]),
            is_identical=all(pair.is_identical for pair, *_ in both) and all(there == here for _, there, here in both),
        )
        return cls(
            base=math.fsum(there for _, there, _ in sides) / len(sides),
            now=math.fsum(here for _, _, here in sides) / len(sides),
            n=len(sides),
            drop=drop,
        )
