"""Differences of paired cases by cluster, and two bounds of their mean: a studentised bootstrap, and one for few.

A cluster is the subject of edit 1: its cases are edits of the same entity and go wrong together.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

RESAMPLES = 9_999
_CHUNK = 2_000_000
"""Random numbers that are held at once."""


@dataclass(frozen=True)
class Clusters:
    """Summed differences by cluster.

    Attributes:
        sums: sum of the differences of each cluster, shape (clusters,), ordered so that the order of cases is lost.
        sizes: cases of each cluster, same shape.
    """

    sums: NDArray[Any]
    sizes: NDArray[Any]

    @classmethod
    def of(cls, differences: Sequence[float], labels: Sequence[Hashable]) -> Clusters:
        """Return the clusters of paired differences (positive = worse), one label per difference."""
        members: dict[Hashable, list[float]] = {}
        for difference, label in zip(differences, labels, strict=True):
            members.setdefault(label, []).append(difference)
        return cls.from_sums([math.fsum(part) for part in members.values()], list(map(len, members.values())))

    @classmethod
    def from_sums(cls, sums: Any, sizes: Any) -> Clusters:
        """Return clusters from their sums and sizes."""
        import numpy as np

        totals, counts = np.asarray(sums, dtype=float), np.asarray(sizes, dtype=float)
        order = np.lexsort((counts, totals))
        return cls(totals[order], counts[order])

    def __len__(self) -> int:
        return len(self.sums)

    @cached_property
    def n(self) -> float:
        """Cases."""
        return float(self.sizes.sum())

    @cached_property
    def mean(self) -> float:
        """Mean difference over cases: the drop."""
        return math.fsum(self.sums) / self.n

    @cached_property
    def are_even(self) -> bool:
        """Whether all clusters have the same size, so that the mean of their means is the mean over cases."""
        return bool((self.sizes == self.sizes[0]).all())

    @cached_property
    def changed(self) -> int:
        """Clusters whose cases do not sum to no difference."""
        return int((self.sums != 0.0).sum())

    @cached_property
    def effective(self) -> float:
        """Clusters of one size that would be worth as much: n**2 / sum of squared sizes (Kish 1965)."""
        return self.n**2 / float((self.sizes**2).sum())

    @cached_property
    def standard_error(self) -> float:
        """Standard error of the mean from the spread between clusters (linearised ratio); nan for one cluster."""
        residual = self.sums - self.mean * self.sizes
        count = len(self)
        if count < 2:
            return math.nan
        return math.sqrt(float(residual @ residual) * count / (count - 1)) / self.n

    def reversed(self) -> Clusters:
        """Return the same clusters with better and worse exchanged."""
        return Clusters.from_sums(-self.sums, self.sizes)


def studentised(clusters: Clusters, generator: Generator, resamples: int = RESAMPLES) -> NDArray[Any]:
    """Return the bootstrap distribution of the studentised mean, sorted, shape (resamples,).

    Clusters are drawn with replacement; every resample has its own standard error (Efron and Tibshirani 1993, 12.5).
    A resample of no spread but another mean counts as infinitely far out.
    """
    import numpy as np

    count = len(clusters)
    parts = []
    for start in range(0, resamples, step := max(1, _CHUNK // count)):
        drawn = generator.integers(count, size=(min(step, resamples - start), count))
        sums, sizes = clusters.sums[drawn], clusters.sizes[drawn]
        n = sizes.sum(axis=1)
        mean = sums.sum(axis=1) / n
        residual = sums - mean[:, None] * sizes
        error = np.sqrt(np.einsum("ij,ij->i", residual, residual) * count / (count - 1)) / n
        away = mean - clusters.mean
        none = error <= 1e-12 * np.abs(mean)
        t = away / np.where(none, 1.0, error)
        parts.append(np.where(none, np.where(np.abs(away) < 1e-12, 0.0, np.copysign(np.inf, away)), t))
    return np.sort(np.concatenate(parts))


def bounded_draws(clusters: Clusters, least: float, generator: Generator, resamples: int = RESAMPLES) -> NDArray[Any]:
    """Return draws of a cautious lower limit of the mean difference, sorted, shape (resamples,).

    Clusters get random weights, as in a Bayesian bootstrap, and one more cluster joins them whose cases have the
    ``least`` difference that is possible. The 5 % quantile is a lower bound for any distribution, however few
    clusters (Gaffke 2005; Learned-Miller and Thomas 2020); for 0/1 values it is Clopper and Pearson's.
    """
    import numpy as np

    pairs, counts = np.unique(np.stack([clusters.sums, clusters.sizes], axis=1), axis=0, return_counts=True)
    usual = clusters.n / clusters.effective  # the size of the cluster that a case is usually in
    sums = np.append(pairs[:, 0], least * usual)
    sizes = np.append(pairs[:, 1], usual)
    shapes = np.append(counts, 1).astype(float)
    all_once = bool((counts == 1).all())
    parts = []
    for start in range(0, resamples, step := max(1, _CHUNK // len(sums))):
        rows = min(step, resamples - start)
        shape = (rows, len(shapes))
        # the same distribution; exponentials are drawn several times as fast
        weights = generator.standard_exponential(shape) if all_once else generator.standard_gamma(shapes, shape)
        parts.append((weights @ sums) / (weights @ sizes))
    return np.sort(np.concatenate(parts))
