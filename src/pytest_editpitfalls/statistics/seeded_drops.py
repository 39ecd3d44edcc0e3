"""How much worse a metric got where both sides ran under several seeds: bounds and tests with their variance in them.

The difference of a case is its mean over the seeds; see `seeds` for what is added to a bound of these.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from pytest_editpitfalls.metrics.metric import Metric

from .drops import LEVEL, POWER, PairedDrop, loss_sign, reach_of
from .seeds import SeedSpread

_HALVINGS = 30


@dataclass(frozen=True)
class SeededDrop(PairedDrop):
    """A `PairedDrop` of the cases' means over the seeds.

    Args:
        spread: of the differences, of each case under each seed; positive = worse.
    """

    spread: SeedSpread = field(default_factory=lambda: SeedSpread((), (), 0.0))

    @classmethod
    def of_seeds(
        cls,
        metric: Metric,
        sides: Sequence[tuple[Hashable, Sequence[float], Sequence[float]]],
        seed: str,
        *,
        is_identical: bool = False,
    ) -> SeededDrop:
        """Return the drop of a metric from the cluster of each case, its values there and here, one for each seed."""
        sign = loss_sign(metric)
        rows = [[sign * (a - b) for a, b in zip(there, here, strict=True)] for _, there, here in sides]
        labels = [label for label, *_ in sides]
        spread = SeedSpread.of(rows, labels)
        # a mean over seeds that differ is no flip
        is_binary = metric.is_binary and all(each in (-1.0, 0.0, 1.0) for each in spread.case_means)
        return cls(
            spread.case_means, labels, is_binary, reach_of(metric), seed, is_identical=is_identical, spread=spread
        )

    def p_value(self, margin: float) -> float:
        """Return the p-value of "the true drop is at most the margin" against "it exceeds it".

        It is the smallest level at which the lower bound, with the seeds in it, lies above the margin.
        """
        beyond = self.drop - margin
        if self.spread.excess == 0.0 or beyond <= 0.0:
            return super().p_value(margin)

        def is_rejected(level: float) -> bool:
            half = self.spread.half_width(level)
            return half < beyond and PairedDrop.p_value(self, self.drop - math.sqrt(beyond**2 - half**2)) <= level

        low, high = 0.0, 0.5
        if not is_rejected(high):
            return max(high, super().p_value(margin))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if is_rejected(middle) else (middle, high)
        return high

    @property
    def upper(self) -> float:
        """One-sided 95 % upper bound of the true drop; inf where there is none."""
        bound = super().upper
        if self.spread.excess == 0.0 or math.isinf(bound):
            return bound
        bound = self.drop + math.hypot(bound - self.drop, self.spread.half_width(LEVEL))
        return bound if self.reach is None else min(bound, self.reach)

    def detectable(self, margin: float, level: float = LEVEL) -> float | None:
        """Return the smallest true drop whose test at ``level`` fails with a probability of 80 %; None: none does."""
        found = super().detectable(margin, level)
        if found is None or self.spread.excess == 0.0:
            return found
        seeds = self.spread.half_width(level) + self.spread.half_width(1 - POWER)
        found = margin + math.hypot(found - margin, seeds)
        return found if self.reach is None or found <= self.reach else None
