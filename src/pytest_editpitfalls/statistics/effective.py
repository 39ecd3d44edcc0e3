"""How many independent cases the cases of a suite are worth, when those of one cluster go right or wrong together.

The correlation within clusters is estimated from the products of two deviations of one cluster. The cases are worth
cases / (1 + correlation * (usual size of a cluster - 1)), Kish's design effect (1965). How sure that is enters, too:
the variance has degrees of freedom after Satterthwaite, and as in Korn and Graubard's interval of a proportion
(Survey Methodology 24:193, 1998) fewer of them make the cases worth less.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Effective:
    """What the cases are worth.

    Attributes:
        cases: independent cases that they are worth, at most as many as they are.
        clusters: clusters among them.
        correlation: of two cases of one cluster, as estimated; 0 where every cluster has one case.
    """

    cases: float
    clusters: int
    correlation: float


def effective(values: Sequence[float], labels: Sequence[Hashable], level: float) -> Effective:
    """Return what ``values`` are worth, one label of a cluster per value; the order does not matter.

    Nothing is known of the correlation where all values are alike or all are of one cluster: then it counts as 1.

    Args:
        level: probability of a mistake on one side of the interval that this is for.
    """
    n = len(values)
    places: dict[Hashable, int] = {}
    codes = [places.setdefault(label, len(places)) for label in labels]
    count = len(places)
    if count == n:
        return Effective(float(n), count, 0.0)
    import numpy as np

    mean = math.fsum(values) / n
    # sorted twice: the sums are the same, to the last bit, in any order of the cases
    order = np.argsort(values)
    away, cluster = np.asarray(values)[order] - mean, np.asarray(codes)[order]
    rows = np.stack([np.bincount(cluster, weights) for weights in (away * away, away, np.ones(n))])
    squares, sums, sizes = rows[:, np.lexsort(rows)]
    usual = float((sizes**2).sum()) / n
    least = n / usual
    variance = float(squares.sum()) / n
    if count == 1 or variance <= 1e-18 * max(1.0, mean * mean):
        return Effective(least, count, 1.0)
    correlation, uncertainty = _correlation(sizes, sums, squares, variance, least)
    inflation = 1 + correlation * (usual - 1)
    freedom = min(2 * (inflation / (usual - 1)) ** 2 / uncertainty, count - 1.0)
    worth = n / inflation * _narrowing(max(freedom, 1.0), level)
    return Effective(min(max(worth, least), float(n)), count, correlation)


def _correlation(
    sizes: NDArray[Any], sums: NDArray[Any], squares: NDArray[Any], variance: float, least: float
) -> tuple[float, float]:
    """Return the correlation within clusters, from 0 to 1, and the variance of this estimate.

    Args:
        sizes, sums, squares: of each cluster: cases, sum of their deviations from the mean, and of the squares.
        variance: of the cases.
        least: clusters of one size that the clusters are worth.
    """
    several = sizes > 1
    size, total, square = sizes[several], sums[several], squares[several]
    # every case weighs alike, by the mean product with the others of its cluster
    weight = float(size.sum())
    found = float(((total**2 - square) / (size - 1)).sum()) / (variance * weight)
    # the deviations are from a mean that the cases themselves have moved
    found += float((size**2 / (size - 1)).sum()) / (float(sizes.sum()) * weight)
    if found > 0 and least > 1:
        found *= least / (least - 1)
    found = min(max(found, 0.0), 1.0)
    # of normal values with this correlation
    spread = 2 * ((1 + (size - 1) * found) ** 2 + (1 - found) ** 2 / (size - 1))
    return found, float(spread.sum()) / weight**2


def _narrowing(freedom: float, level: float) -> float:
    """Return the square of how much narrower the normal distribution is than Student's with ``freedom``."""
    from scipy.special import stdtrit

    return float(NormalDist().inv_cdf(1 - level) / stdtrit(freedom, 1 - level)) ** 2
