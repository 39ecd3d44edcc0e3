"""Several seeds of an editor on the same cases: what the variance between seeds adds to an interval over cases.

Cases and seeds are two samples that are crossed: every case runs under every seed. The value of a case is its mean over
the seeds; an interval of these means, by whatever method, has the variance between cases in it and their interaction
with the seeds, but not the part in which a seed moves all cases together. That part is estimated from the means of the
seeds: their variance, less what the interaction alone gives (an analysis of variance with two random factors, as for
readers and cases in radiology: Hillis 2007). It comes with few degrees of freedom, seeds - 1, and is added to the
interval by the squares of the half-widths (Zou and Donner 2008). Simulated in docs/seeds.md.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class SeedSpread:
    """One metric of the same cases under several seeds.

    Attributes:
        case_means: mean over the seeds, of each case.
        seed_means: mean over the cases, of each seed.
        excess: variance of the overall mean that comes from seeds moving all cases together; not negative.
    """

    case_means: tuple[float, ...]
    seed_means: tuple[float, ...]
    excess: float

    @classmethod
    def of(cls, values: Sequence[Sequence[float]], clusters: Sequence[Hashable]) -> SeedSpread:
        """Return the spread of ``values``: one row per case, in it the value under each seed; at least one row.

        Args:
            clusters: the cluster of each case: its cases are moved together by chance.
        """
        cases, seeds = len(values), len(values[0])
        case_means = tuple(math.fsum(row) / seeds for row in values)
        seed_means = tuple(math.fsum(column) / cases for column in zip(*values, strict=True))
        if seeds < 2:
            return cls(case_means, seed_means, 0.0)
        mean = math.fsum(seed_means) / seeds
        between = math.fsum((each - mean) ** 2 for each in seed_means) / (seeds - 1)
        sums: dict[Hashable, list[float]] = {}  # of what is left of a value without its case and its seed
        for row, case_mean, cluster in zip(values, case_means, clusters, strict=True):
            known = sums.setdefault(cluster, [0.0] * seeds)
            for place, value in enumerate(row):
                known[place] += value - case_mean - seed_means[place] + mean
        count = len(sums)
        interaction = 0.0
        if count > 1:
            squares = math.fsum(each * each for known in sums.values() for each in known)
            interaction = squares * count / ((count - 1) * (seeds - 1)) / cases**2
        return cls(case_means, seed_means, max(0.0, between - interaction) / seeds)

    @property
    def mean(self) -> float:
        """Mean over cases and seeds."""
        return math.fsum(self.case_means) / len(self.case_means)

    @property
    def sd(self) -> float | None:
        """Standard deviation of the means of the seeds; None for one seed."""
        count = len(self.seed_means)
        if count < 2:
            return None
        mean = math.fsum(self.seed_means) / count
        return math.sqrt(math.fsum((each - mean) ** 2 for each in self.seed_means) / (count - 1))

    @property
    def is_identical(self) -> bool:
        """Whether all seeds have the same mean, and no share in the interval."""
        return len(set(self.seed_means)) == 1

    def half_width(self, tail: float = (1 - CONFIDENCE) / 2) -> float:
        """Return how far the mean may be off on one side because of the seeds, but for a probability of ``tail``."""
        if self.excess == 0.0:
            return 0.0
        from scipy.special import stdtrit  # scipy.stats takes a second to import

        return float(stdtrit(len(self.seed_means) - 1, 1 - tail)) * math.sqrt(self.excess)

    def widened(self, low: float | None, high: float | None) -> tuple[float | None, float | None]:
        """Return the interval ``low`` to ``high`` of the mean of `case_means` with the variance between seeds in it.

        An end that is not known (None) stays so.
        """
        mean, half = self.mean, self.half_width()
        return (
            None if low is None else mean - math.hypot(max(mean - low, 0.0), half),
            None if high is None else mean + math.hypot(max(high - mean, 0.0), half),
        )
