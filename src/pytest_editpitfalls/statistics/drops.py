"""How much worse a metric got between paired cases: the drop, its bound, whether it exceeds a margin, and power.

All are about one number, the mean difference over cases: test, bound, power and what is printed. Three methods, each
used where a simulation shows that it keeps its level (docs/gates.md):

* 0/1 metrics with few flips or few clusters, all of one size: Tango's score with exact tails, on one value per
  cluster. Where sizes differ, the mean of these values would not be the mean over cases;
* everything else with enough clusters: of a t test, a studentised bootstrap and a bootstrap with one invented bad
  cluster the most cautious answer;
* everything else, with few clusters or few flips: a bound that holds for any distribution inside the metric's range.

The power is that of cases that get worse on top of the changes in both directions that the run shows anyway. How many
such changes there are is known from the run alone, so that an upper limit of their rate is taken.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.metrics.metric import Metric

from . import paired_binary
from .clusters import RESAMPLES, Clusters, bounded_draws, studentised

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

LEVEL = 0.05
FEW_CLUSTERS = 40
"""Fewer clusters than that are few; uneven ones count as fewer (`Clusters.effective`)."""
FEW_FLIPS = 40
POWER = 0.8
CAUTION = 0.1
"""Probability that the upper limit of the noise is too low."""
STEP = 1.5
"""How much larger the steps of a drop may be than the changes that a run shows."""
SLACK = 1.15
"""How much further out than the normal distribution the bootstrap's quantiles lie."""
STEPS = 18
_POINTS = 12


@dataclass(frozen=True)
class PairedDrop:
    """Paired differences of one metric, positive = worse, and what can be said of their mean.

    Args:
        differences: one per paired case.
        labels: the cluster of each, the subject of edit 1.
        is_binary: whether the metric is 0 or 1 in every case.
        reach: the largest difference that the metric's range allows; None where it has no lower end.
        seed: seed of the random draws, a text.
        is_identical: whether both sides are the same to the last bit in all that is stored of them, so that no chance
            is in it. Values that happen to be equal are no proof of that.
    """

    differences: Sequence[float]
    labels: Sequence[Hashable]
    is_binary: bool
    reach: float | None
    seed: str = ""
    resamples: int = field(default=RESAMPLES, compare=False)
    is_identical: bool = False

    @classmethod
    def of(
        cls, metric: Metric, sides: Sequence[tuple[Hashable, float, float]], seed: str, *, is_identical: bool = False
    ) -> PairedDrop:
        """Return the drop of a metric from the cluster, the value there and the value here of each paired case."""
        sign = loss_sign(metric)
        differences = [sign * (there - here) for _, there, here in sides]
        labels = [label for label, *_ in sides]
        return cls(differences, labels, metric.is_binary, reach_of(metric), seed, is_identical=is_identical)

    @cached_property
    def clusters(self) -> Clusters:
        """The differences by cluster."""
        return Clusters.of(self.differences, self.labels)

    @cached_property
    def worse(self) -> int:
        """Cases that got worse."""
        return sum(difference > 0 for difference in self.differences)

    @cached_property
    def better(self) -> int:
        """Cases that got better."""
        return sum(difference < 0 for difference in self.differences)

    @property
    def drop(self) -> float:
        """Mean difference over cases."""
        return self.clusters.mean

    @cached_property
    def method(self) -> str:
        """How the bound and the p-value are computed."""
        if self.is_identical:
            return "identical"
        few = self.clusters.effective < FEW_CLUSTERS
        few_flips = self.is_binary and (few or self.worse + self.better < FEW_FLIPS)
        if few_flips and self.clusters.are_even:
            return "exact"
        if not few and not few_flips and not self._is_unchanged:
            return "bootstrap"
        return "bounded" if self.reach is not None else "none"

    @property
    def _is_unchanged(self) -> bool:
        """Whether no value differs: the bootstrap would take that for certain."""
        return self.worse + self.better == 0

    def p_value(self, margin: float) -> float:
        """Return the p-value of "the true drop is at most the margin" against "it exceeds it".

        It is at least a half where the drop that is seen does not exceed the margin.
        """
        if self._is_unchanged or self.method in ("identical", "none"):
            return 1.0
        p = paired_binary.p_value(*self._counts, margin) if self.method == "exact" else self._forwards.p_value(margin)
        return p if self.drop > margin else max(p, 0.5)

    @cached_property
    def upper(self) -> float:
        """One-sided 95 % upper bound of the true drop; inf where there is none.

        Where no value differs it is that of a rate that was 0 so many times (Clopper and Pearson), in steps of the
        largest difference.
        """
        if self.method == "identical":
            return 0.0
        if self.method == "none" or (self.reach is None and self._is_unchanged):
            return math.inf
        if self._is_unchanged:
            assert self.reach is not None
            return self.reach * (1.0 - math.pow(LEVEL, 1.0 / self.clusters.effective))
        is_exact = self.method == "exact"
        bound = paired_binary.bound(*self._counts, LEVEL) if is_exact else -self._backwards.lower(LEVEL)
        if self.reach is None:
            return max(bound, self.drop)
        if bound >= self.reach:
            # So few clusters changed that resamples without any leave the bootstrap without an end.
            bound = -self._worst_case(self.clusters.reversed()).lower(LEVEL)
        return max(min(bound, self.reach), self.drop)

    def detectable(self, margin: float, level: float = LEVEL) -> float | None:
        """Return the smallest true drop whose test at ``level`` fails with a probability of 80 %; None: none does."""
        if self.method == "none":
            return None
        if self.method == "exact" or (self.is_binary and self.is_identical and self.clusters.are_even):
            found = _detectable_binary(
                self._counts[1],
                len(self.clusters),
                margin,
                level,
                # about as many: what decides then is not sure
                flips_of_bootstrap=math.inf if len(self.clusters) < FEW_CLUSTERS else 0.7 * FEW_FLIPS,
            )
        else:
            found = _detectable_mean(self, margin, level)
        return found if found is not None and (self.reach is None or found <= self.reach) else None

    @cached_property
    def _counts(self) -> tuple[float, float, int]:
        """Flips for the worse, for the better, and clusters: each has one flip at most, shared among its cases.

        Only to be asked where all clusters have one size: elsewhere it weighs cases otherwise than the drop does.
        """
        size = len(self.differences) / len(self.clusters)
        return self.worse / size, self.better / size, len(self.clusters)

    @cached_property
    def _forwards(self) -> _Bounds:
        return self._bounds(self.clusters)

    @cached_property
    def _backwards(self) -> _Bounds:
        t = self._forwards.t  # better and worse exchanged: the same distribution from the other end
        return self._bounds(self.clusters.reversed(), None if t is None else -t[::-1])

    def _bounds(self, clusters: Clusters, t: NDArray[Any] | None = None) -> _Bounds:
        if self.method == "bounded":
            return self._worst_case(clusters)
        return _Bounds.cautious(clusters, t, self._generator(), self.resamples)

    def _worst_case(self, clusters: Clusters) -> _Bounds:
        """Bounds that hold for any distribution in the metric's range."""
        assert self.reach is not None
        return _Bounds(clusters, None, bounded_draws(clusters, -self.reach, self._generator(), self.resamples))

    def _generator(self) -> Generator:
        import numpy as np

        seed = hashlib.sha256(self.seed.encode("utf-8", "backslashreplace")).digest()[:8]
        return np.random.default_rng(int.from_bytes(seed, "little"))


@dataclass(frozen=True)
class _Bounds:
    """Lower bounds of the mean of ``clusters`` and the p-values that belong to them.

    Attributes:
        t: distribution of the studentised mean, sorted, or None where it is not used.
        draws: draws of the cautious lower limit, sorted.
    """

    clusters: Clusters
    t: NDArray[Any] | None
    draws: NDArray[Any]

    @classmethod
    def cautious(cls, clusters: Clusters, t: NDArray[Any] | None, generator: Generator, resamples: int) -> _Bounds:
        """Return the bounds for many clusters; the invented one gained as much as the largest change."""
        import numpy as np

        largest = float(np.abs(clusters.sums / clusters.sizes).max())
        t = studentised(clusters, generator, resamples) if t is None else t
        return cls(clusters, t, bounded_draws(clusters, -largest, generator, resamples))

    def p_value(self, margin: float) -> float:
        """Return the largest of the p-values of "the true mean is at most ``margin``"."""
        import numpy as np
        from scipy.stats import t as student

        count = len(self.draws) + 1
        p = (1 + int(np.searchsorted(self.draws, margin + 1e-12, side="right"))) / count
        if self.t is not None:
            error = self.clusters.standard_error
            distance = self.clusters.mean - margin
            t = distance / error if error > 0 else math.copysign(math.inf, distance) if distance else 0.0
            beyond = len(self.t) - int(np.searchsorted(self.t, t - 1e-12, side="left"))
            p = max(p, float(student.sf(t, len(self.clusters) - 1)), (1 + beyond) / count)
        return min(1.0, p)

    def lower(self, level: float) -> float:
        """Return the smallest of the lower bounds that the true mean falls below with probability ``level``."""
        from scipy.stats import t as student

        place = math.floor(level * (len(self.draws) + 1)) - 1
        if place < 0:
            return -math.inf
        bound = float(self.draws[place])
        if self.t is not None:
            error = self.clusters.standard_error
            quantile = max(float(self.t[-1 - place]), float(student.isf(level, len(self.clusters) - 1)))
            bound = min(bound, self.clusters.mean - quantile * error if error > 0 else self.clusters.mean)
        return bound


def loss_sign(metric: Metric) -> float:
    """Return what turns a fall of a metric into a loss: 1, or -1 where it is a rise that is one.

    Of a metric that has no direction a rise counts so: its differences are nobody's loss, and no gate judges them.
    """
    return 1.0 if metric.higher_is_better else -1.0


def reach_of(metric: Metric) -> float | None:
    """Return the largest difference of two values of a metric; None where its range has an open end."""
    return None if metric.low is None or math.isinf(metric.high) else metric.high - metric.low


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for being several (Holm 1979), in the given order."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _detectable_binary(
    better: float, trials: int, margin: float, level: float, *, flips_of_bootstrap: float
) -> float | None:
    """Return the smallest detectable drop of a 0/1 metric with exact tails, or None.

    Args:
        better: clusters that flipped for the better: the noise, taken as equally frequent for the worse.
        trials: clusters, all of one size.
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
    other = _smallest(lambda drop: drop - margin >= distance * math.sqrt((2 * noise + drop) / trials), low, most)
    return None if other is None else max(found, other)


def _detectable_mean(paired: PairedDrop, margin: float, level: float) -> float | None:
    """Return the smallest detectable drop of a mean, or None.

    The distance of the lower bound from the mean, as observed, and the standard error are scaled up by the noise: the
    upper limit of the variance of a cluster, and the variance that the drop itself brings if it comes in steps as large
    as the changes that the run shows (sum of squares / sum of absolute differences) and half as much again; those of a
    0/1 metric are 1.
    """
    from scipy.special import betaincinv
    from scipy.stats import chi2, norm

    clusters = paired.clusters
    count = len(clusters)
    absolute = math.fsum(abs(value) for value in paired.differences)
    squares = math.fsum(value * value for value in paired.differences)
    step = STEP * squares / absolute if absolute else paired.reach
    if step is not None and paired.is_binary:
        step = 1.0
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
