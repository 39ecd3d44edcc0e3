"""The intervals that reports printed before, for `editpitfalls calibrate intervals --former`: what was wrong with them.

Both take the cases for independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

from pytest_editpitfalls.statistics.intervals import CONFIDENCE

if TYPE_CHECKING:
    from numpy.random import Generator

RESAMPLES = 2000


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (Wilson 1927, without continuity correction)."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    p = successes / n
    middle = (2 * successes + z * z) / (2 * (n + z * z))
    half = z * math.sqrt(4 * successes * (1 - p) + z * z) / (2 * (n + z * z))
    return 0.0 if successes == 0 else middle - half, 1.0 if successes == n else middle + half


def bootstrap_interval(values: Sequence[float], generator: Generator) -> tuple[float, float]:
    """Return a bootstrap interval of the mean (Efron 1987, BCa; percentile where that is not defined)."""
    if min(values) == max(values):
        return float(values[0]), float(values[0])
    import warnings

    import numpy as np
    from scipy.stats import bootstrap

    data = np.asarray(values, dtype=float)
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            interval = bootstrap(
                (data,),
                np.mean,
                n_resamples=RESAMPLES,
                batch=max(1, 2_000_000 // len(values)),
                confidence_level=CONFIDENCE,
                method=method,
                vectorized=True,
                rng=generator,
            ).confidence_interval
        low, high = float(interval.low), float(interval.high)
        if math.isfinite(low) and math.isfinite(high):
            break
    return low, high
