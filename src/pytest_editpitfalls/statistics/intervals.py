"""The two-sided 95 % interval of a mean over cases, for few cases and for cases that come in clusters."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from .effective import effective
from .gaffke import lower_limit

CONFIDENCE = 0.95
LEVEL = (1 - CONFIDENCE) / 2
"""Probability that the mean lies beyond one of the ends."""
FEW = 72
"""Independent cases under which nothing is said towards an end of the range that is not known: 2.5 % of the samples of
so many lack a value that every twentieth case has."""
FARTHER = 2.0
"""How far the invented value lies beyond the farthest one, measured by that one's distance from the mean."""

Method = Literal["exact", "bounded", "open", "none"]


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval of a mean, and how it was found.

    Attributes:
        low, high: its ends; None where nothing can be said towards that side.
        method: "exact": Clopper and Pearson's, of a share. "bounded": Gaffke's, of a mean whose range is known.
            "open": the same, with an invented value where the range has no end. "none": neither end is known.
        effective: independent cases that the cases are worth.
        clusters: clusters among them.
        reason: why an end is missing.
    """

    low: float | None
    high: float | None
    method: Method
    effective: float
    clusters: int
    reason: str | None = None


def mean_interval(
    values: Sequence[float],
    labels: Sequence[Hashable],
    low: float | None,
    high: float | None,
    *,
    is_binary: bool = False,
) -> Interval:
    """Return the 95 % interval of the mean of ``values``, which are at least one.

    Each end is missed with a probability of 2.5 % at most. Towards an end of the range that is known, it is Gaffke's
    limit, valid for any distribution and number of cases; for 0/1 values that is Clopper and Pearson's. Towards one
    that is not known no limit is valid for any distribution (Bahadur and Savage 1956): the same limit is used with an
    invented value `FARTHER` out than all others, and none is given under `FEW` cases.

    Args:
        values: finite values, in any order.
        labels: the cluster of each.
        low, high: ends of the range of one value; None or infinite where there is none.
        is_binary: whether every value is 0 or 1 by its meaning; this only names the method.
    """
    found = effective(values, labels, LEVEL)
    worth = found.cases / len(values)
    mean = math.fsum(values) / len(values)
    silent = _silence(found.cases, min(values) == max(values))
    ends: list[float | None] = []
    reasons = []
    for sign, least, side in ((1, low, "lower"), (-1, None if high is None else -high, "upper")):
        turned = [sign * value for value in values]
        bound = least if least is not None and math.isfinite(least) else None
        if bound is None and silent is None:
            farthest = min(turned)
            bound = farthest - FARTHER * (sign * mean - farthest)
        if bound is not None:
            ends.append(sign * min(lower_limit(turned, worth, bound, LEVEL), sign * mean))
        else:
            ends.append(None)
            reasons.append(
                f"no {side} limit: the metric has no {'least' if sign > 0 else 'largest'} value, and {silent}"
            )
    method: Method = "exact" if is_binary else "bounded"
    if low is None or high is None or not math.isfinite(low) or not math.isfinite(high):
        method = "none" if ends == [None, None] else "open"
    return Interval(ends[0], ends[1], method, found.cases, found.clusters, "; ".join(reasons) or None)


def _silence(cases: float, alike: bool) -> str | None:
    """Return why nothing can be said towards an end that is not known; None where something can."""
    if cases < FEW:
        return f"{cases:.3g} independent case{' is' if cases == 1 else 's are'} too few"
    return "all values are alike" if alike else None
