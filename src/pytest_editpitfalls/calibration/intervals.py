"""Do the intervals cover? A simulation: how often the interval of a sample holds the true mean, and how wide it is.

`editpitfalls calibrate intervals` prints it; docs/intervals.md shows its figures.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from pytest_editpitfalls.results.record import Number, Record
from pytest_editpitfalls.statistics.intervals import mean_interval

from .case_values import RELATIONS, SUBJECTS, Population, Structure, invented, share_by_relation
from .former import bootstrap_interval, wilson_interval

if TYPE_CHECKING:
    from numpy.random import Generator

FLOOR = 0.93
"""Coverage that is promised; what the intervals aim at is 95 %."""
CASES = (4, 10, 50, 200, 2000)
CORRELATIONS = (0.0, 0.1, 0.3)
MOST_OF_BCA = 200
"""Cases up to which BCa intervals are simulated: each takes a tenth of a second for 2,000."""


class CoverageRecord(Record):
    """What became of the simulated intervals of one population, structure and number of cases."""

    population: str
    structure: str = Field(description="whose cluster sizes the cases have")
    correlation: Number = Field(
        default=None, description="of two cases of a cluster; null where the population says it"
    )
    cases: int
    replications: int
    coverage: float = Field(description="share of replications whose interval holds the true mean")
    error: float = Field(description="standard error of that share, by the number of replications")
    width: Number = Field(
        default=None, description="mean width of the intervals with two ends, in the metric's unit; null: none has"
    )
    open: float = Field(description="share of replications in which an end is missing; it counts as infinitely far out")
    flat: float = Field(description="share of replications whose interval has no width")
    methods: dict[str, int] = Field(default_factory=dict, description="method -> replications")
    former_coverage: Number = Field(default=None, description="the same of Wilson's and BCa intervals of the cases")
    former_width: Number = None
    former_flat: Number = None

    @property
    def holds(self) -> bool:
        """Whether the coverage is not under the floor by more than two standard errors."""
        return self.coverage >= FLOOR - 2 * self.error


def calibrate_intervals(
    populations: Sequence[Population] = (),
    structures: Sequence[Structure] = (),
    *,
    cases: Sequence[int] = (),
    replications: int = 1000,
    seed: int = 0,
    former: bool = False,
    progress: Callable[[CoverageRecord], None] | None = None,
) -> list[CoverageRecord]:
    """Simulate intervals of invented and other populations, by subject and by relation.

    Args:
        populations: further ones, as `case_values.stored` makes them of runs.
        structures: which cases are of one cluster; default: those of the benchmark's files that this module knows.
        cases: numbers of cases; default: `CASES`. A structure that has fewer is left out there.
        replications: samples for each figure.
        seed: seed of everything.
        former: simulate Wilson's and BCa intervals of the same samples, too; BCa of `MOST_OF_BCA` cases at most.
        progress: called with each record.
    """
    records = []
    for population, structure, correlation in _settings(populations, structures or (SUBJECTS, *RELATIONS)):
        for count in cases or CASES:
            if count > sum(structure.sizes):
                continue
            record = simulate(population, structure, correlation, count, replications, seed, former=former)
            records.append(record)
            if progress is not None:
                progress(record)
    return records


def _settings(
    populations: Sequence[Population], structures: Sequence[Structure]
) -> Iterator[tuple[Population, Structure, float | None]]:
    for structure in structures:
        if structure.is_relations:
            for p in (0.5, 0.9):
                yield share_by_relation(p), structure, None
        else:
            for population in (*invented(), *populations):
                for correlation in CORRELATIONS:
                    yield population, structure, correlation


def simulate(
    population: Population,
    structure: Structure,
    correlation: float | None,
    cases: int,
    replications: int,
    seed: int,
    *,
    former: bool = False,
) -> CoverageRecord:
    """Simulate the intervals of one population, structure and number of cases; arguments as in `CoverageRecord`."""
    generator = _generator(seed, f"{population.name} {structure.name} {correlation} {cases}")
    methods: Counter[str] = Counter()
    found, before = _Tally(population.mean), _Tally(population.mean)
    former = former and (population.is_binary or cases <= MOST_OF_BCA)
    for _ in range(replications):
        labels = structure.sample(generator, cases)
        values = population.sample(generator, labels, correlation or 0.0).tolist()
        interval = mean_interval(
            values, labels.tolist(), population.low, population.high, is_binary=population.is_binary
        )
        methods[interval.method] += 1
        found.add(interval.low, interval.high)
        if former and population.is_binary:
            before.add(*wilson_interval(round(math.fsum(values)), cases))
        elif former:
            before.add(*bootstrap_interval(values, generator))
    coverage = found.hits / replications
    return CoverageRecord(
        population=population.name,
        structure=structure.name,
        correlation=correlation,
        cases=cases,
        replications=replications,
        coverage=coverage,
        error=math.sqrt(coverage * (1 - coverage) / replications),
        width=found.width,
        open=found.open / replications,
        flat=found.flat / replications,
        methods=dict(methods.most_common()),
        former_coverage=before.hits / replications if former else None,
        former_width=before.width if former else None,
        former_flat=before.flat / replications if former else None,
    )


class _Tally:
    """Counts of intervals: those that hold the mean, those without an end, those without a width."""

    def __init__(self, mean: float) -> None:
        self.mean = mean
        self.hits = self.open = self.flat = 0
        self.widths: list[float] = []

    def add(self, low: float | None, high: float | None) -> None:
        """Count one interval."""
        slack = 1e-12 * max(1.0, abs(self.mean))  # a mean of stored values is rounded
        self.hits += (low is None or low <= self.mean + slack) and (high is None or high >= self.mean - slack)
        if low is None or high is None:
            self.open += 1
        else:
            self.widths.append(high - low)
            self.flat += high == low

    @property
    def width(self) -> float | None:
        """Mean width; None where no interval has one."""
        return math.fsum(self.widths) / len(self.widths) if self.widths else None


def _generator(seed: int, name: str) -> Generator:
    import numpy as np

    digest = hashlib.sha256(f"{seed} {name}".encode("utf-8", "backslashreplace")).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
