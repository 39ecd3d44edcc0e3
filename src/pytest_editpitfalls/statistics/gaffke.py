"""A lower limit of the mean of values that cannot lie below a known one, valid however few they are.

The values get random weights, as in a Bayesian bootstrap, and one more value joins them: the least that is possible.
A quantile of the weighted mean is the limit (Gaffke 2005; Learned-Miller and Thomas 2020, arXiv:1905.06208). For 0/1
values it is that of Clopper and Pearson.

Nothing is drawn here. The weights are gamma variables, so that "the weighted mean is at most t" says that a weighted
sum of gamma variables is negative, and the saddlepoint approximation gives that probability (Lugannani and Rice 1980,
in the form of Barndorff-Nielsen 1986). Limits of no seed are the same in every report, and take a thousandth of the
time. A test holds them against drawn ones.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS = 60
"""Iterations at most; both searches end after about ten."""
EXACT = 1e-9
"""Where both searches end: a part of the range of the values."""


def lower_limit(values: Any, worth: Any, least: float, level: float) -> float:
    """Return a number that the true mean falls below with a probability of ``level`` at most.

    Args:
        values: values, shape (n,).
        worth: how many independent values each is worth; 1 where all are independent. A number, or shape (n,).
        least: the least value that is possible.
        level: probability, less than a half.
    """
    import numpy as np

    data = np.asarray(values, dtype=float)
    weights = np.broadcast_to(np.asarray(worth, dtype=float), data.shape)
    distinct, places = np.unique(data, return_inverse=True)
    shapes = np.append(np.bincount(places, weights), 1.0)
    points = np.append(distinct, least)
    low, high = float(points.min()), float(points.max())
    if high - low <= 1e-12 * max(1.0, abs(low)):
        return low
    points = (points - low) / (high - low)
    if set(points.tolist()) == {0.0, 1.0}:
        from scipy.special import betaincinv

        ones = float(shapes[points == 1.0].sum())
        return low + (high - low) * float(betaincinv(ones, shapes.sum() - ones, level))
    return low + (high - low) * _quantile(points, shapes, level)


def _quantile(points: NDArray[Any], shapes: NDArray[Any], level: float) -> float:
    """Return the ``level`` quantile of the gamma-weighted mean of ``points``, which reach from 0 to 1."""
    aim = NormalDist().inv_cdf(level)
    total = float(shapes.sum())
    mean = float(shapes @ points) / total
    spread = math.sqrt(max(float(shapes @ (points - mean) ** 2) / total / (total + 1), 0.0))
    low, high = 0.0, mean
    below, above = -math.inf, math.inf
    at = mean + aim * spread
    slope = 0.0
    for _ in range(STEPS):
        if not low < at < high:
            at = (low + high) / 2
        score, slope = _score(points - at, shapes, slope)
        if score < aim:
            low, below = at, score
        else:
            high, above = at, score
        if high - low <= EXACT or abs(score - aim) <= 1e-7:
            return at
        # the score is nearly a line
        known = math.isfinite(below) and math.isfinite(above)
        at = low + (high - low) * (aim - below) / (above - below) if known else at + (aim - score) * spread
    return low


def _score(distances: NDArray[Any], shapes: NDArray[Any], slope: float) -> tuple[float, float]:
    """Return the normal score of P(sum of gamma variables times ``distances`` < 0), and the saddlepoint.

    Args:
        distances: of points from the supposed mean, some negative, some positive.
        shapes: of the gamma variables.
        slope: where the search for the saddlepoint starts.
    """
    import numpy as np

    low, high = 1 / float(distances.min()), 1 / float(distances.max())
    if not low < slope < high:
        slope = 0.0
    for _ in range(STEPS):
        parts = distances / (1 - slope * distances)
        first, second = float(shapes @ parts), float(shapes @ (parts * parts))
        low, high = (low, slope) if first > 0 else (slope, high)
        following = slope - first / second
        if not low < following < high:
            following = (low + high) / 2
        moved, slope = abs(following - slope), following
        if moved <= EXACT * abs(slope):
            break
    parts = distances / (1 - slope * distances)
    root = math.copysign(math.sqrt(max(2 * float(shapes @ np.log1p(-slope * distances)), 0.0)), slope)
    other = slope * math.sqrt(float(shapes @ (parts * parts)))
    if abs(root) < 1e-3:
        return root, slope
    return root + math.log(other / root) / root, slope
