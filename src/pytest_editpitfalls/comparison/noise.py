"""The noise floor: how far runs of the same editor on the same cases differ by chance, and margins above it.

Two kinds of chance are told apart. Another seed makes another edit; another batch size, number type, device or version
of torch makes the same edit with other rounding. What a run was made with stands in its record, and a run with
``--pitfalls-seeds`` is a run for each of its seeds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.options.editor_labels import without_seed
from pytest_editpitfalls.pitfalls import METRICS, same_definitions
from pytest_editpitfalls.results.records import CaseRecord, RunResults

from .pairing import are_different

SEED = "seed"
ROUNDING = ("batch size", "dtype", "device", "versions")
REPEAT = "repeat"
"""The same again, as far as records tell: what lies between two such runs is rounding too, of threads for instance."""

Group = tuple[str, str, str]
"""(suite, editor without its seed, model)."""


@dataclass(frozen=True, slots=True)
class SourceNoise:
    """How far runs lie apart that differ in one source of noise alone.

    Attributes:
        pairs: of runs that do.
        largest: largest absolute difference of their means.
        sd: standard deviation of a single run's mean.
    """

    pairs: int
    largest: float
    sd: float

    @classmethod
    def of(cls, apart: Sequence[float]) -> SourceNoise | None:
        """Return that of the differences of some pairs; None without any."""
        if not apart:
            return None
        # a difference of two means has twice the variance of one
        return cls(len(apart), max(apart), math.sqrt(math.fsum(each * each for each in apart) / (2 * len(apart))))


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """How far the runs lie apart in one metric of one suite with one editor on one model.

    Attributes:
        runs: runs that have it; one with several seeds counts as several.
        n: cases with a value in all of them.
        largest: largest absolute difference of two runs' means over these cases.
        usual: 95 % of the pairs of runs differ by no more (the same as ``largest`` for few runs).
        largest_case: largest absolute difference of two runs in one case.
        changed: cases whose value is not the same in all runs; for a 0/1 metric these flip.
        seed: of pairs that differ in the seed alone; None where there are none.
        rounding: of pairs under one seed, which differ in rounding alone; None where there are none.
        by_source: what differs, alone -> how far apart: "seed", "batch size", "dtype", "device", "versions", or
            "repeat" where nothing that is recorded does.
        margin: suggested margin of a relative gate, as text: "1pp"; "0" where all runs agree; None where the metric
            has no direction, so that no such gate can judge it. It covers both kinds of
            noise: a gate compares two runs that may differ in both.
    """

    suite: str
    editor: str
    model: str
    metric: str
    runs: int
    n: int
    largest: float
    usual: float
    largest_case: float
    changed: int
    seed: SourceNoise | None
    rounding: SourceNoise | None
    by_source: Mapping[str, SourceNoise]
    margin: str | None


@dataclass(frozen=True)
class _Sample:
    """The cases of one run under one seed.

    Attributes:
        made_with: source of noise -> what the run has of it.
        groups: (suite, editor, model) -> case id -> record.
    """

    made_with: Mapping[str, object]
    groups: dict[Group, dict[str, CaseRecord]] = field(default_factory=dict)

    def differs_in(self, other: _Sample) -> frozenset[str]:
        """Return what the runs were made with that is not the same."""
        return frozenset(name for name, value in self.made_with.items() if value != other.made_with[name])


def noise_floor(runs: Sequence[RunResults]) -> list[NoiseFloor]:
    """Return the floor of every metric, in the order of the first run.

    The runs are of the same editors on the same cases and differ in what should not matter: batch size, seed, number
    type. One run is enough where it has several seeds.

    Raises:
        UsageError: fewer than two runs or seeds, runs whose cases ask something else, whose metrics are defined
            otherwise or whose texts another judge scored, or runs that have no case in common.
    """
    samples = [sample for run in runs for sample in _by_seed(run)]
    if len(samples) < 2:
        raise UsageError(
            "one run alone shows no noise",
            fix="give at least two runs of the same cases, or one with --pitfalls-seeds",
        )
    definitions = (run.run.metric_definitions for run in runs)
    if not all(itertools.starmap(same_definitions, itertools.combinations(definitions, 2))):
        raise UsageError("the runs define their metrics otherwise", fix="make all runs with one version")
    for one, another in itertools.combinations(runs, 2):
        judges = {suite.name: suite.judge for suite in another.run.suites}
        for suite in one.run.suites:
            if suite.name in judges and are_different(suite.judge, judges[suite.name]):
                raise UsageError(
                    f"the runs have different judges of what the model says in suite '{suite.name}'",
                    fix="make all runs with the same --pitfalls-judge",
                )
    floors: list[NoiseFloor] = []
    is_shared = False
    for group in dict.fromkeys(group for sample in samples for group in sample.groups):
        having = [sample for sample in samples if group in sample.groups]
        tables = [sample.groups[group] for sample in having]
        rows = [[table[name] for table in tables] for name in tables[0] if all(name in table for table in tables)]
        if len(having) < 2 or not rows:
            continue
        is_shared = True
        if (other := next((row[0] for row in rows if len({case.digest for case in row}) > 1), None)) is not None:
            raise UsageError(
                f"case '{other.id}' of suite '{other.suite}' does not ask the same in all runs",
                fix="run the same cases each time",
            )
        pairs = [
            (place, another, having[place].differs_in(having[another]))
            for place, another in itertools.combinations(range(len(having)), 2)
        ]
        floors += [
            found
            for name in METRICS
            if (found := _floor(group, name, [[case.metrics.get(name) for case in row] for row in rows], pairs))
        ]
    if not is_shared:
        raise UsageError("the runs have no scored case in common", fix="run the same cases each time")
    return floors


def _by_seed(results: RunResults) -> Iterable[_Sample]:
    """Give the cases of each seed of a run, as runs of their own; seeds in the order in which they appear."""
    run, samples = results.run, {}
    versions = tuple((name, run.versions.get(name)) for name in ("torch", "transformers"))
    for case in results.cases:
        if not case.is_scored or case.outcome == "error":
            continue
        seed = run.seed if case.seed is None else case.seed
        if seed not in samples:
            values = (seed, run.batch_size, run.dtype, run.device, versions)
            samples[seed] = _Sample(dict(zip((SEED, *ROUNDING), values, strict=True)))
        group = case.suite, without_seed(case.editor), case.model
        samples[seed].groups.setdefault(group, {})[case.id] = case
    return samples.values()


def _floor(
    group: Group,
    metric: str,
    rows: Sequence[Sequence[float | None]],
    pairs: Sequence[tuple[int, int, frozenset[str]]],
) -> NoiseFloor | None:
    known = [known for row in rows if len(known := [value for value in row if value is not None]) == len(row)]
    if not known:
        return None
    means = [math.fsum(column) / len(known) for column in zip(*known, strict=True)]
    apart = [(abs(means[place] - means[other]), sources) for place, other, sources in pairs]
    ordered = sorted(distance for distance, _ in apart)
    by_source = {
        name: noise
        for name in (SEED, *ROUNDING, REPEAT)
        if (noise := SourceNoise.of([d for d, sources in apart if sources == {name} - {REPEAT}])) is not None
    }
    seed = by_source.get(SEED)
    rounding = SourceNoise.of([distance for distance, sources in apart if SEED not in sources])
    independent = math.hypot(*(each.largest for each in (seed, rounding) if each is not None))
    return NoiseFloor(
        *group,
        metric=metric,
        runs=len(means),
        n=len(known),
        largest=ordered[-1],
        usual=ordered[math.ceil(0.95 * len(ordered)) - 1],
        largest_case=max(max(row) - min(row) for row in known),
        changed=sum(max(row) != min(row) for row in known),
        seed=seed,
        rounding=rounding,
        by_source=by_source,
        margin=(
            None if METRICS.get(metric).higher_is_better is None else suggested_margin(max(ordered[-1], independent))
        ),
    )


def suggested_margin(floor: float) -> str:
    """Return a margin not below ``floor`` in percentage points, rounded up to 1, 2 or 5 times a power of ten."""
    points = 100 * floor
    if points <= 0:
        return "0"
    first = math.floor(math.log10(points)) - 1
    candidates = (step * 10.0**power for power in itertools.count(first) for step in (1, 2, 5))
    margin = next(candidate for candidate in candidates if candidate >= points * (1 - 1e-9))
    return f"{max(margin, 0.1):g}pp"
