"""Tests on paired 0/1 values: how far more cases got worse than got better.

``worse`` cases won there and lose here, ``better`` ones the other way round; the drop is (worse - better) / n.
Counts may be broken numbers: those of clustered cases are scaled down to what independent cases would be worth.

The statistic is Tango's score (Statistics in Medicine 17:891, 1998). Its reference is not the normal distribution but
the exact one, with the nuisance parameter (how often a case flips at all) maximised over a confidence interval, after
Berger and Boos (JASA 89:1012, 1994): the level holds for few cases, too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUISANCE_LEVEL = 1e-6
"""Probability that the confidence interval of the flip rate misses it; it is added to every p-value."""

GRID = 32
"""Points at which the flip rate is tried."""
STEPS = 22
"""Halvings when a bound is searched: 2 / 2**22 is far below what a report prints."""


def mcnemar(worse: int, better: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (1 without flips)."""
    from scipy.stats import binomtest

    flips = worse + better
    return 1.0 if flips == 0 else float(binomtest(worse, flips).pvalue)


def tango_score(worse: Any, better: Any, n: float, drop: float) -> NDArray[Any]:
    """Return Tango's score of the hypothesis that the true drop is ``drop``; array of the counts' shape.

    Large where the counts show a larger drop. The rate of better flips is its maximum likelihood estimate under the
    hypothesis (Tango 1998, equations 9 and 10).
    """
    import numpy as np

    b, c = np.asarray(worse, dtype=float), np.asarray(better, dtype=float)
    first = -b - c + (2 * n - b + c) * drop
    last = -c * drop * (1 - drop)
    rate = (np.sqrt(np.maximum(first * first - 8 * n * last, 0.0)) - first) / (4 * n)
    variance = n * np.maximum(2 * rate + drop * (1 - drop), 0.0)
    difference = b - c - n * drop
    known = variance > 1e-12
    score = difference / np.sqrt(np.where(known, variance, 1.0))
    without = np.where(np.abs(difference) < 1e-9, 0.0, np.copysign(np.inf, difference))
    return np.where(known, score, without)


def p_value(worse: float, better: float, n: float, drop: float) -> float:
    """Return the exact p-value of "the true drop is at most ``drop``" against "it is larger"."""
    observed = float(tango_score(worse, better, n, drop))
    trials = max(int(n), 1)
    rates = _nuisance(min(worse + better, n), n, drop)
    largest = float(tail(observed, trials, drop, rates).max())
    return min(1.0, largest + NUISANCE_LEVEL)


def tail(observed: float, trials: int, drop: float, rates: NDArray[Any]) -> NDArray[Any]:
    """Return P(score >= observed) at a true drop of ``drop``, for each rate of better flips; shape of ``rates``."""
    import numpy as np
    from scipy.special import betainc, gammaln, xlog1py, xlogy

    highest = min(trials, math.ceil(trials * rates.max() + 8 * math.sqrt(trials * rates.max()) + 12))
    better = np.arange(highest + 1)
    least = least_worse(observed, better, trials, drop)
    rate = rates[:, None]
    rest = trials - better
    weight = np.exp(
        gammaln(trials + 1) - gammaln(better + 1) - gammaln(rest + 1) + xlogy(better, rate) + xlog1py(rest, -rate)
    )
    share = np.clip((rate + drop) / np.maximum(1 - rate, 1e-300), 0.0, 1.0)
    inside = (least >= 1) & (least <= rest)
    upper = betainc(np.where(inside, least, 1), np.where(inside, rest - least + 1, 1), share)
    upper = np.where(least < 1, 1.0, np.where(least > rest, 0.0, upper))
    total: NDArray[Any] = np.minimum((weight * upper).sum(axis=1), 1.0)
    return total


def least_worse(observed: float, better: NDArray[Any], trials: int, drop: float) -> NDArray[Any]:
    """Return for each count of better flips the least count of worse ones whose score reaches ``observed``.

    Where none does it is one more than is possible. The score grows with the worse flips, so that halving finds it.
    """
    import numpy as np

    low, high = np.full(better.shape, -1), trials - better + 1
    while True:
        middle = (low + high) // 2
        open_ = high - low > 1
        if not open_.any():
            return high
        reached = tango_score(middle, better, trials, drop) >= observed - 1e-9
        high = np.where(open_ & reached, middle, high)
        low = np.where(open_ & ~reached, middle, low)


def bound(worse: float, better: float, n: float, level: float) -> float:
    """Return the upper confidence bound of the drop that is exceeded with probability ``level`` at most."""
    low, high = max((worse - better) / n, -1.0), 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if p_value(better, worse, n, -middle) > level:  # drops this large are still believable
            low = middle
        else:
            high = middle
    return high


def _nuisance(flips: float, n: float, drop: float) -> NDArray[Any]:
    """Return believable rates of better flips, from Clopper and Pearson's interval of the rate of all flips."""
    import numpy as np
    from scipy.special import betaincinv

    half = NUISANCE_LEVEL / 2
    low = 0.0 if flips <= 0 else float(betaincinv(flips, n - flips + 1, half))
    high = 1.0 if flips >= n else float(betaincinv(flips + 1, n - flips, 1 - half))
    least, most = max(0.0, -drop), (1 - drop) / 2
    # a rate grows from small numbers: points at equal distances of its root
    first, last = (math.sqrt(min(max((rate - drop) / 2, least), most) - least) for rate in (low, high))
    rates: NDArray[Any] = least + np.linspace(first, last, GRID) ** 2
    return rates
