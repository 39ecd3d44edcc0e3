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
LARGE = 0.95
STEPS = 18
_POINTS = 12


def binary(better: int, n: int, effective: float, margin: float, level: float) -> float | None:
    """Return the smallest detectable drop of a 0/1 metric with exact tails, or None.

    Args:
        better: cases that flipped for the better: the noise, taken as equally frequent for the worse.
        n: paired cases.
        effective: what they are worth as independent cases.
        margin: the gate's margin.
        level: level of the test.
    """
    from scipy.special import betaincinv

    trials = max(int(effective), 1)
    share = effective / n
    noise = float(betaincinv(better * share + 1, max(effective - better * share, 1e-9), 1 - CAUTION))
    most = 1 - 2 * noise
    if most <= margin:
        return None
    highest = min(trials, math.ceil(trials * noise + 4 * math.sqrt(trials * noise) + 4))
    least = _critical(trials, highest, margin, level)
    return _smallest(lambda drop: _power(least, trials, noise, drop) >= POWER, max(margin, 0.0), most)


def continuous(paired: PairedDrop, margin: float, level: float) -> float | None:
    """Return the smallest detectable drop of a mean, or None.

    The distance of the lower bound from the mean, as observed, and the standard error are scaled up by the noise: the
    upper limit of the variance of a cluster, and the variance that the drop itself brings if it comes in steps as large
    as the large changes that the run shows (95 % of the changes are no larger).
    """
    import numpy as np
    from scipy.special import betaincinv
    from scipy.stats import chi2, norm

    clusters = paired.clusters
    count = len(clusters)
    changes = [abs(value) for value in paired.differences if value]
    step = float(np.quantile(changes, LARGE)) if changes else paired.reach
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
