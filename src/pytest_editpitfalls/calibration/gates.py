"""Do the gates keep what they promise? A simulation: false fails at a true drop of the margin, and finds at the size.

`editpitfalls calibrate` prints it; docs/gates.md shows its figures.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.results.record import Number, Record
from pytest_editpitfalls.statistics.drops import LEVEL, POWER, PairedDrop, holm

from .populations import Population, Sample, flips, lifts, pools, shifted, stepped, stored, uneven

if TYPE_CHECKING:
    from numpy.random import Generator

    from pytest_editpitfalls.comparison.pairing import Comparison

RESAMPLES = 999
"""Resamples of each simulated gate; a real one has ten times as many."""
MARGINS = (0.0, 0.02, 0.05)


class CalibrationRecord(Record):
    """What became of the simulated gates of one population and margin."""

    population: str
    clusters: int = Field(description="clusters in a sample; for a family: the least of its gates")
    gates: int = Field(default=1, description="gates that are decided together, after Holm")
    margin: float
    replications: int
    false_fails: float = Field(description="share of replications in which a gate fails although no drop exceeds it")
    false_fails_error: float = Field(description="standard error of that share, by the number of replications")
    size: Number = Field(default=None, description="mean of the smallest drops that the gates say they find")
    without_size: Number = Field(default=None, description="share of replications in which they say: none")
    found: Number = Field(default=None, description="share of gates that fail at a true drop of just that size")
    found_error: Number = Field(default=None, description="standard error of that share")
    methods: dict[str, int] = Field(default_factory=dict, description="method -> replications")

    @property
    def holds(self) -> bool:
        """Whether neither share is worse than promised by more than two standard errors."""
        level = self.false_fails <= LEVEL + 2 * max(self.false_fails_error, _error(LEVEL, self.replications))
        power = self.found is None or self.found >= POWER - 2 * (self.found_error or 0.0)
        return level and power


def calibrate_synthetic(
    *, replications: int = 2000, seed: int = 0, progress: Callable[[CalibrationRecord], None] | None = None
) -> list[CalibrationRecord]:
    """Simulate gates on invented populations: 0/1 and scale, few and many clusters, alone and correlated.

    There are ``replications`` for each figure of false fails, and half as many for finds.
    """
    return _collect(_synthetic(replications, seed), progress)


def calibrate_stored(
    comparison: Comparison,
    *,
    replications: int = 500,
    seed: int = 0,
    clusters: Sequence[int] = (),
    progress: Callable[[CalibrationRecord], None] | None = None,
) -> list[CalibrationRecord]:
    """Simulate gates on cases drawn from two stored runs: every metric, alone and all together.

    There are ``replications`` for each figure of false fails, and half as many for finds; ``clusters`` are numbers of
    clusters in a sample, by default as many as the suite has.

    Raises:
        UsageError: no metric differs between the two.
    """
    if not pools(comparison):
        raise UsageError(
            "no metric differs between the two runs", fix="calibrate with runs that differ, or without any"
        )
    return _collect(_from_stored(comparison, replications, seed, clusters), progress)


def _collect(
    records: Iterable[CalibrationRecord], progress: Callable[[CalibrationRecord], None] | None
) -> list[CalibrationRecord]:
    collected = []
    for record in records:
        collected.append(record)
        if progress is not None:
            progress(record)
    return collected


def _synthetic(replications: int, seed: int) -> Iterator[CalibrationRecord]:
    for population in (
        *(flips(count, noise=noise) for count in (20, 40, 58, 200, 400) for noise in (0.01, 0.05, 0.15)),
        *(flips(26, 2, noise=0.05, correlation=correlation) for correlation in (0.5, 1.0)),
        *(flips(100, 3, noise=0.05, correlation=correlation) for correlation in (0.0, 0.5, 1.0)),
    ):
        for margin in MARGINS:
            yield simulate(population, margin, replications, seed)
    for count in (20, 40, 58, 200):
        for shape in (
            "normal",
            "heavy tails",
            "long tail of gains",
            "long tail of losses",
            "4 of 5 unchanged",
        ):
            yield simulate(shifted(count, shape=shape), 0.02, replications, seed)
        yield simulate(stepped(count, step=0.25), 0.02, replications, seed)
    yield simulate(shifted(45, 2, shape="normal", correlation=0.7), 0.02, replications, seed)
    for count in (39, 58, 200):
        for noise in (0.05, 0.15):
            for size_matters in (False, True):
                population = uneven(count, noise=noise, correlation=1.0, size_matters=size_matters)
                yield simulate(population, 0.02, replications, seed)
        for correlation in (0.0, 0.3):
            yield simulate(uneven(count, noise=0.05, correlation=correlation), 0.0, replications, seed)
        yield simulate(uneven(count, noise=0.1, correlation=1.0, is_binary=False), 0.02, replications, seed)
    for count in (20, 58, 200):
        for noise in (0.01, 0.05):
            yield simulate(lifts(count, noise=noise), 0.02, replications, seed)
    for count in (20, 40, 58, 100, 200):
        yield simulate(shifted(count, shape="4 % gain 0.9"), 0.02, replications, seed)
    for count in (40, 58, 200):
        for gates in (5, 15) if count < 200 else (5,):
            yield simulate_family(_correlated(count, gates), [0.02] * gates, count, replications, seed)


def _from_stored(
    comparison: Comparison, replications: int, seed: int, clusters: Sequence[int]
) -> Iterator[CalibrationRecord]:
    for count in clusters or (None,):
        for population in stored(comparison, count):
            margins = (0.0, 0.02) if population.own_drop is None else (population.own_drop,)
            for margin in margins:
                yield simulate(population, margin, replications, seed)
        family = [population for population in stored(comparison, count) if population.own_drop is not None]

        def draw(generator: Generator, members: Sequence[Population] = family) -> list[tuple[Population, Sample]]:
            # one seed for all: the metrics of a suite see the same clusters, as in a run
            common = int(generator.integers(2**63))
            return [(member, member.sample(_generator(common, "family"), 0.0)) for member in members]

        margins_of_all = [population.own_drop or 0.0 for population in family]
        least = min(population.clusters for population in family)
        yield simulate_family(draw, margins_of_all, least, replications, seed, name="stored, all metrics")


def simulate(population: Population, margin: float, replications: int, seed: int) -> CalibrationRecord:
    """Simulate one gate: false fails at a true drop of ``margin``, finds at the size said by a run without a drop.

    A population with a drop of its own has that as the margin and is asked for false fails only.
    """
    generator = _generator(seed, f"{population.name} {population.clusters} {margin}")
    methods: Counter[str] = Counter()
    fails = 0
    for _ in range(replications):
        paired = _paired(population, population.sample(generator, margin), generator)
        methods[paired.method] += 1
        fails += paired.p_value(margin) < LEVEL
    sizes: list[float] = []
    asked, finds = replications // 2, 0
    for _ in range(asked if population.own_drop is None else 0):
        size = _paired(population, population.sample(generator, 0.0), generator).detectable(margin)
        if size is not None:
            sizes.append(size)
            finds += _paired(population, population.sample(generator, size), generator).p_value(margin) < LEVEL
    found = finds / len(sizes) if sizes else None
    return CalibrationRecord(
        population=population.name,
        clusters=population.clusters,
        margin=margin,
        replications=replications,
        false_fails=fails / replications,
        false_fails_error=_error(fails / replications, replications),
        size=math.fsum(sizes) / len(sizes) if sizes else None,
        without_size=1 - len(sizes) / asked if population.own_drop is None and asked else None,
        found=found,
        found_error=None if found is None else _error(found, len(sizes)),
        methods=dict(methods.most_common()),
    )


def simulate_family(
    draw: Callable[[Generator], list[tuple[Population, Sample]]],
    margins: Sequence[float],
    clusters: int,
    replications: int,
    seed: int,
    *,
    name: str = "family of 0/1 and scale metrics of the same cases",
) -> CalibrationRecord:
    """Simulate several gates that are decided together, all at a true drop of their margin: is any one failed?"""
    generator = _generator(seed, f"{name} {clusters} {len(margins)}")
    methods: Counter[str] = Counter()
    fails = 0
    for _ in range(replications):
        p_values = []
        for (population, sample), margin in zip(draw(generator), margins, strict=True):
            paired = _paired(population, sample, generator)
            methods[paired.method] += 1
            p_values.append(paired.p_value(margin))
        fails += min(holm(p_values)) < LEVEL
    return CalibrationRecord(
        population=name,
        clusters=clusters,
        gates=len(margins),
        margin=max(margins),
        replications=replications,
        false_fails=fails / replications,
        false_fails_error=_error(fails / replications, replications),
        methods=dict(methods.most_common()),
    )


def _correlated(clusters: int, gates: int) -> Callable[[Generator], list[tuple[Population, Sample]]]:
    """Return a drawer of several metrics of the same cases, correlated by 0.5, each with a true drop of 0.02."""
    from statistics import NormalDist

    scale = Population("scale", False, 1.0, clusters, lambda *_: ([], []))
    binary = Population("0/1", True, 1.0, clusters, lambda *_: ([], []))
    normal = NormalDist()
    better, worse = normal.inv_cdf(0.06), normal.inv_cdf(1 - 0.08)

    def draw(generator: Generator) -> list[tuple[Population, Sample]]:
        labels = list(range(clusters))
        common = generator.normal(size=clusters)
        drawn = []
        for place in range(gates):
            value = math.sqrt(0.5) * (common + generator.normal(size=clusters))
            if place % 3:
                drawn.append((binary, ((1.0 * (value > worse) - 1.0 * (value < better)).tolist(), labels)))
            else:
                drawn.append((scale, ((0.1 * value + 0.02).tolist(), labels)))
        return drawn

    return draw


def _paired(population: Population, sample: Sample, generator: Generator) -> PairedDrop:
    differences, labels = sample
    seed = str(generator.integers(2**63))
    return PairedDrop(differences, labels, population.is_binary, population.reach, seed, RESAMPLES)


def _generator(seed: int, name: str) -> Generator:
    import numpy as np

    digest = hashlib.sha256(f"{seed} {name}".encode("utf-8", "backslashreplace")).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def _error(share: float, count: int) -> float:
    return math.sqrt(share * (1 - share) / count) if count else 0.0
