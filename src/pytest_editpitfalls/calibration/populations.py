"""Where simulated cases come from: invented populations of paired differences, and those of two stored runs.

A population is known as a whole, so that its true drop is known. Samples of it are what a run would see.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from pytest_editpitfalls.comparison.pairing import Comparison

Sample = tuple[list[float], list[int]]
"""Differences (positive = worse) and the cluster of each."""


@dataclass(frozen=True)
class Population:
    """A population of clusters of paired differences.

    Attributes:
        name: what it is, in words.
        is_binary: whether the metric is 0 or 1.
        reach: the largest difference that is possible; None without a lower end.
        sample: draws a sample from the population with a given true drop.
        own_drop: the true drop where it is what it is and ``sample`` does not change it; else None.
    """

    name: str
    is_binary: bool
    reach: float | None
    clusters: int
    sample: Callable[[Generator, float], Sample]
    own_drop: float | None = None


def flips(clusters: int, size: int = 1, *, noise: float, correlation: float = 0.0) -> Population:
    """Return a 0/1 metric: ``noise`` of the cases flip in each direction, the drop comes on top for the worse.

    Args:
        noise: rate of flips for the better, and for the worse without a drop.
        correlation: of the differences of two cases of a cluster.
    """

    def sample(generator: Generator, drop: float) -> Sample:
        import numpy as np

        alone, shared = generator.random((clusters, size)), generator.random((clusters, 1))
        place = np.where(generator.random((clusters, size)) < math.sqrt(correlation), shared, alone)
        differences = np.where(place < noise + drop, 1.0, np.where(place > 1 - noise, -1.0, 0.0))
        return differences.ravel().tolist(), _labels(clusters, size)

    return Population(f"0/1, {100 * noise:g} % flip each way{_shape(size, correlation)}", True, 1.0, clusters, sample)


def lifts(clusters: int, *, noise: float) -> Population:
    """Return a metric of -1, 0 and 1: a 0/1 score less that of the unedited model, which is the same in both runs.

    ``noise`` of the cases flip in each direction, the drop comes on top for the worse.
    """
    flipped = flips(clusters, noise=noise)
    return Population(f"lift, {100 * noise:g} % flip each way", False, 2.0, clusters, flipped.sample)


APART = 0.3
"""How much better large clusters fare than small ones, where size matters."""


def uneven(
    clusters: int, *, noise: float, correlation: float, is_binary: bool = True, size_matters: bool = False
) -> Population:
    """Return clusters as uneven as those of the benchmark's composite file: one has 5 % of all cases, many have one.

    Args:
        noise: 0/1: rate of flips each way; on a scale: standard deviation of a difference.
        correlation: of the differences of two cases of a cluster.
        size_matters: whether clusters of more than two cases fare better than small ones; 0/1 only. Then the mean over
            clusters is another one than the mean over cases.
    """
    sizes = [clusters // 13 + 1, *[4] * (clusters // 40), *[2] * (clusters // 5)]
    sizes += [1] * (clusters - len(sizes))
    large = sum(size for size in sizes if size > 2) / sum(sizes)

    def sample(generator: Generator, drop: float) -> Sample:
        import numpy as np

        drawn = generator.permutation(sizes)
        labels = np.repeat(np.arange(clusters), drawn)
        is_shared = generator.random(len(labels)) < math.sqrt(correlation)
        if is_binary:
            place = np.where(is_shared, generator.random(clusters)[labels], generator.random(len(labels)))
            gain = np.where(drawn[labels] > 2, APART, 0.0) if size_matters else 0.0
            loss = drop + (APART * large if size_matters else 0.0)
            values = np.where(place < noise + loss, 1.0, np.where(place > 1 - noise - gain, -1.0, 0.0))
        else:
            common, own = generator.normal(size=clusters)[labels], generator.normal(size=len(labels))
            values = drop + noise * np.where(is_shared, common, own)
        return values.tolist(), labels.tolist()

    kind = f"0/1, {100 * noise:g} % flip each way" if is_binary else "scale, normal"
    apart = ", large ones fare better" if size_matters else ""
    name = f"{kind}, uneven clusters, correlation {correlation:g}{apart}"
    return Population(name, is_binary, 1.0, clusters, sample)


SHAPES: dict[str, Callable[[Any, Any], Any]] = {
    "normal": lambda generator, size: generator.normal(0.0, 0.1, size),
    "heavy tails": lambda generator, size: 0.05 * generator.standard_t(3, size),
    "long tail of gains": lambda generator, size: 0.05 - generator.exponential(0.05, size),
    "long tail of losses": lambda generator, size: generator.exponential(0.05, size) - 0.05,
    "4 of 5 unchanged": lambda generator, size: (
        (generator.random(size) < 0.2) * generator.choice([-0.5, -3 / 11, 3 / 11, 0.5], size)
    ),
    "4 % gain 0.9": lambda generator, size: (
        0.0375 - 0.9375 * (generator.random(size) < 0.04) + generator.normal(0.0, 0.01, size)
    ),
}
"""Differences without a true drop. The last is made to mislead: a rare large gain that a small sample misses."""


def shifted(clusters: int, size: int = 1, *, shape: str, correlation: float = 0.0) -> Population:
    """Return a metric on a scale: differences of a ``shape``, every case worse by the drop."""

    def sample(generator: Generator, drop: float) -> Sample:
        import numpy as np

        draw = SHAPES[shape]
        is_shared = generator.random((clusters, size)) < math.sqrt(correlation)
        values = np.where(is_shared, draw(generator, (clusters, 1)), draw(generator, (clusters, size)))
        return (values + drop).ravel().tolist(), _labels(clusters, size)

    return Population(f"scale, {shape}{_shape(size, correlation)}", False, 1.0, clusters, sample)


def stepped(clusters: int, *, step: float) -> Population:
    """Return a metric on a scale with normal differences whose drop comes from few cases, each worse by ``step``."""

    def sample(generator: Generator, drop: float) -> Sample:
        values = generator.normal(0.0, 0.1, clusters) + step * (generator.random(clusters) < drop / step)
        return values.tolist(), _labels(clusters, 1)

    return Population(f"scale, few cases lose {step:g}", False, 1.0, clusters, sample)


def stored(comparison: Comparison, clusters: int | None = None) -> Iterator[Population]:
    """Yield the populations of two stored runs: every metric of every suite, editor and model, by cluster.

    A sample has as many ``clusters``; by default as many as there are. Each comes as it is, with its own drop as the
    true one, and with the sides of every cluster exchanged by chance, so that its drop is 0 and any other can be added
    (0/1: by flips, otherwise: to every case). Metrics without a difference are left out.
    """
    for (suite, editor, model, metric), pool in pools(comparison).items():
        count = clusters or len(pool.members)
        name = f"stored, {suite}.{metric} with {editor} on {model}"
        sign = -1.0 if pool.drop < 0 else 1.0
        own = pool.sampler(count, sign)
        yield Population(name, pool.is_binary, pool.reach, count, own, abs(pool.drop))
        mixed = pool.sampler(count, None)
        yield Population(f"{name}, sides mixed", pool.is_binary, pool.reach, count, mixed)


@dataclass(frozen=True)
class Pool:
    """The paired differences of one metric in two stored runs, by cluster.

    Attributes:
        members: differences of each cluster.
        is_binary: whether the metric is 0 or 1.
        reach: as in `Population`.
    """

    members: list[NDArray[Any]]
    is_binary: bool
    reach: float | None

    @property
    def drop(self) -> float:
        """Mean difference over cases."""
        values = [value for member in self.members for value in member.tolist()]
        return math.fsum(values) / len(values)

    def sampler(self, count: int, sign: float | None) -> Callable[[Generator, float], Sample]:
        """Return a sampler of ``count`` clusters; with a sign as they are, without one sides are mixed by chance."""

        def sample(generator: Generator, drop: float) -> Sample:
            import numpy as np

            places = generator.integers(len(self.members), size=count)
            signs = np.full(count, sign) if sign is not None else generator.choice([-1.0, 1.0], count)
            parts = [side * self.members[place] for side, place in zip(signs, places, strict=True)]
            labels = np.repeat(np.arange(count), [len(part) for part in parts])
            values = np.concatenate(parts)
            if sign is None:
                lost = generator.random(len(values)) < drop
                values = np.where(lost, 1.0, values) if self.is_binary else values + drop
            return values.tolist(), labels.tolist()

        return sample


def pools(comparison: Comparison) -> dict[tuple[str, str, str, str], Pool]:
    """Return the pool of every (suite, editor, model, metric) in which some case differs."""
    import numpy as np

    from pytest_editpitfalls.pitfalls import METRICS, metric_of
    from pytest_editpitfalls.statistics.drops import loss_sign, reach_of

    kinds = {suite.name: suite.kind for suite in comparison.base.suites}
    found: dict[tuple[str, str, str, str], dict[str, list[float]]] = {}
    for pair in comparison.pairs:
        for metric, there in pair.base.metrics.items():
            here = pair.now.metrics.get(metric)
            if there is None or here is None or metric not in METRICS:
                continue
            if METRICS.get(metric).higher_is_better is None:
                continue  # no gate judges it
            sign = loss_sign(METRICS.get(metric))
            members = found.setdefault((*pair.key[:3], metric), {})
            members.setdefault(pair.cluster, []).append(sign * (there - here))
    return {
        key: Pool(
            [np.asarray(part) for part in members.values()],
            key[0] in kinds and (known := metric_of(kinds[key[0]], key[3])) is not None and known.is_binary,
            reach_of(METRICS.get(key[3])),
        )
        for key, members in found.items()
        if any(value != 0.0 for part in members.values() for value in part)
    }


def _labels(clusters: int, size: int) -> list[int]:
    return [cluster for cluster in range(clusters) for _ in range(size)]


def _shape(size: int, correlation: float) -> str:
    return "" if size == 1 else f", {size} cases a cluster, correlation {correlation:g}"
