"""The noise floor: how far runs of the same editor on the same cases differ by chance, and margins above it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import METRICS
from pytest_editpitfalls.results.records import CaseRecord, RunResults


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """How far the runs lie apart in one metric of one suite with one editor on one model.

    Attributes:
        runs: runs that have it.
        n: cases with a value in all of them.
        largest: largest absolute difference of two runs' means over these cases.
        usual: 95 % of the pairs of runs differ by no more (the same as ``largest`` for few runs).
        largest_case: largest absolute difference of two runs in one case.
        changed: cases whose value is not the same in all runs; for a 0/1 metric these flip.
        margin: suggested margin of a relative gate, as text: "1pp"; "0" where all runs agree.
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
    margin: str


def noise_floor(runs: Sequence[RunResults]) -> list[NoiseFloor]:
    """Return the floor of every metric, in the order of the first run.

    The runs are of the same editors on the same cases and differ in what should not matter: batch size, seed, number
    type.

    Raises:
        UsageError: fewer than two runs, runs whose cases ask something else or whose metrics are defined otherwise,
            or runs that have no case in common.
    """
    if len(runs) < 2:
        raise UsageError("one run alone shows no noise", fix="give at least two runs of the same cases")
    if len({run.run.metric_definitions for run in runs}) > 1:
        raise UsageError("the runs define their metrics otherwise", fix="make all runs with one version")
    by_key = [{case.key: case for case in run.cases if case.is_scored and case.outcome != "error"} for run in runs]
    shared = [key for key in by_key[0] if all(key in cases for cases in by_key)]
    if not shared:
        raise UsageError("the runs have no scored case in common", fix="run the same cases each time")
    other = [key for key in shared if len({cases[key].digest for cases in by_key}) > 1]
    if other:
        raise UsageError(
            f"case '{other[0][3]}' of suite '{other[0][0]}' does not ask the same in all runs",
            fix="run the same cases each time",
        )
    groups: dict[tuple[str, str, str], list[list[CaseRecord]]] = {}
    for key in shared:
        groups.setdefault(key[:3], []).append([cases[key] for cases in by_key])
    return [
        floor
        for group, members in groups.items()
        for name in METRICS
        if (floor := _floor(group, name, [[case.metrics.get(name) for case in row] for row in members]))
    ]


def _floor(group: tuple[str, str, str], metric: str, rows: Sequence[Sequence[float | None]]) -> NoiseFloor | None:
    known = [known for row in rows if len(known := [value for value in row if value is not None]) == len(row)]
    if not known:
        return None
    means = [math.fsum(column) / len(known) for column in zip(*known, strict=True)]
    apart = sorted(abs(a - b) for a, b in itertools.combinations(means, 2))
    largest = apart[-1]
    return NoiseFloor(
        *group,
        metric=metric,
        runs=len(means),
        n=len(known),
        largest=largest,
        usual=apart[math.ceil(0.95 * len(apart)) - 1],
        largest_case=max(max(row) - min(row) for row in known),
        changed=sum(max(row) != min(row) for row in known),
        margin=suggested_margin(largest),
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
