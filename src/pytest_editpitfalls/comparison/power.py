"""The smallest true drop that a gate finds with 80 % power: what its cases can tell at all.

The drop is thought of as cases that get worse on top of the changes in both directions that the run shows anyway. How
many such changes there are is known from the run alone, so that an upper limit of their rate is taken.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from . import paired_binary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .drops import PairedDrop

POWER = 0.8
CAUTION = 0.1
"""Probability that the upper limit of the noise is too low."""
STEP = 1.5
"""How much larger the steps of a drop may be than the changes that a run shows."""
SLACK = 1.15
"""How much further out than the normal distribution the bootstrap's quantiles lie."""
STEPS = 18
_POINTS = 12


def binary(
    better: float, trials: int, margin: float, level: float, *, effective: float, flips_of_bootstrap: float
) -> float | None:
    """Return the smallest detectable drop of a 0/1 metric with exact tails, or None.

    Args:
        better: clusters that flipped for the better: the noise, taken as equally frequent for the worse.
        trials: clusters.
        margin: the gate's margin.
        level: level of the test.
        effective: clusters of one size that would be worth as much.
        flips_of_bootstrap: flips from which the bootstrap decides instead; inf where it never does.
    """
    from scipy.special import betaincinv
    from scipy.stats import norm

    noise = float(betaincinv(better + 1, max(trials - better, 1e-9), 1 - CAUTION))
    most = 1 - 2 * noise
    if most <= margin:
        return None
    highest = min(trials, math.ceil(trials * noise + 4 * math.sqrt(trials * noise) + 4))
    least = _critical(trials, highest, margin, level)
    low = max(margin, 0.0)
    found = _smallest(lambda drop: _power(least, trials, noise, drop) >= POWER, low, most)
    if found is None or (2 * noise + found) * trials < flips_of_bootstrap:
        return found
    # the bootstrap weighs clusters by their cases: its error is that of cases that go wrong together
    distance = SLACK * float(norm.isf(level) + norm.ppf(POWER))
    other = _smallest(lambda drop: drop - margin >= distance * math.sqrt((2 * noise + drop) / effective), low, most)
    return None if other is None else max(found, other)


def continuous(paired: PairedDrop, margin: float, level: float) -> float | None:
    """Return the smallest detectable drop of a mean, or None.

    The distance of the lower bound from the mean, as observed, and the standard error are scaled up by the noise: the
    upper limit of the variance of a cluster, and the variance that the drop itself brings if it comes in steps as large
    as the changes that the run shows (sum of squares / sum of absolute differences) and half as much again.
    """
    from scipy.special import betaincinv
    from scipy.stats import chi2, norm

    clusters = paired.clusters
    count = len(clusters)
    absolute = math.fsum(abs(value) for value in paired.differences)
    squares = math.fsum(value * value for value in paired.differences)
    step = STEP * squares / absolute if absolute else paired.reach
    if step is None or count < 2:
        return None
    observed = clusters.standard_error**2
    spread = observed * (count - 1) / float(chi2.ppf(CAUTION, count - 1))
    unseen = float(betaincinv(clusters.changed + 1, max(count - clusters.changed, 1e-9), 1 - CAUTION))
    base = max(spread, unseen * step * step / clusters.effective)
    if observed > 0:
        reach = (paired.drop - paired._forwards.lower(level)) / math.sqrt(observed)
    else:
        reach = float(norm.isf(level))
    if not math.isfinite(reach):
        return None
    distance = reach + float(norm.ppf(POWER))

    def is_found(drop: float) -> bool:
        return drop - margin >= distance * math.sqrt(base + step * drop / clusters.effective)

    most = 100.0 * (abs(margin) + step + distance) if paired.reach is None else paired.reach
    return _smallest(is_found, max(margin, 0.0), most)


def _smallest(is_found: Any, low: float, high: float) -> float | None:
    """Return the smallest drop between ``low`` and ``high`` that is found, by halving, or None."""
    if not is_found(high):
        return None
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return float(high)


@lru_cache(maxsize=256)
def _critical(trials: int, highest: int, margin: float, level: float) -> NDArray[Any]:
    """Return the least count of worse flips that fails the gate, for 0 ... ``highest`` better ones.

    It is computed for some counts and rounded up between them: the border is nearly a line.
    """
    import numpy as np

    points = np.unique(np.linspace(0, highest, min(highest + 1, _POINTS)).round().astype(int))
    least = []
    for better in points:
        low, high = int(better), trials - int(better) + 1
        while high - low > 1:
            middle = (low + high) // 2
            fails = paired_binary.p_value(middle, int(better), trials, margin) < level
            low, high = (low, middle) if fails else (middle, high)
        least.append(max(high, low))
    return np.ceil(np.interp(np.arange(highest + 1), points, least) - 1e-9).astype(int)


def _power(least: NDArray[Any], trials: int, noise: float, drop: float) -> float:
    """Return the probability of at least ``least`` worse flips at a true drop of ``drop``."""
    import numpy as np
    from scipy.stats import binom

    better = np.arange(len(least))
    share = min((noise + drop) / max(1 - noise, 1e-12), 1.0)
    return float((binom.pmf(better, trials, noise) * binom.sf(least - 1, trials - better, share)).sum())
