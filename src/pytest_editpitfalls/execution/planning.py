"""From selected cases to batches and shards: the same cases give the same batches, in any order.

A batch whose worker died is halved until the case that kills is alone, then given up.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pytest_editpitfalls.options.config import Shard

Item = TypeVar("Item")

Unit = tuple[int, ...]
"""Items that one worker runs in a row (places in the collection)."""

MOST_DEATHS = 2
"""Times that an item may take its worker down while it runs alone; then it is given up."""

GIVEN_UP = f"its worker process died {MOST_DEATHS} times while running it alone: the case is given up, the others go on"
"""Why such a case is an error."""

UNLIMITED = 2**31
"""A batch size that cuts nothing: the executor cuts to what the engine can take."""

BATCHES_PER_WORKER = 3
"""Batches that each worker should get at least, so that no worker waits long for the last one."""

LEAST_BATCH = 4
"""Smallest batch that is cut to keep all workers busy."""


@dataclass(frozen=True, slots=True)
class BatchGroup:
    """What is planned together: cases of one suite, edited by one editor in one model (labels)."""

    suite: str
    editor: str
    model: str


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """One case as the plan knows it: its group and its place in the suite, counted from 0 in file order."""

    group: BatchGroup
    index: int


Batch = tuple[PlannedCase, ...]
"""Cases of one group, in the order of their suite, that one process runs together."""


def plan(cases: Iterable[PlannedCase], size: int) -> tuple[Batch, ...]:
    """Cut the cases into batches of one group and at most ``size`` cases, all of about the same length.

    Groups come in the order in which they first appear; repeated cases count once. Raises `ValueError` for a size
    under 1.
    """
    selected: dict[BatchGroup, set[int]] = {}
    for case in cases:
        selected.setdefault(case.group, set()).add(case.index)
    return tuple(
        batch
        for group, indices in selected.items()
        for batch in cut(tuple(PlannedCase(group, index) for index in sorted(indices)), size)
    )


def cut(batch: Batch, size: int) -> list[Batch]:
    """Cut into the fewest parts of at most ``size`` cases; their lengths differ by one at most."""
    parts = _parts(len(batch), size)
    bounds = [len(batch) * part // max(1, parts) for part in range(parts + 1)]
    return [batch[start:end] for start, end in itertools.pairwise(bounds)]


def part_size(cases: int, size: int) -> int:
    """Cases of the first part that `cut` makes of so many, of at least one."""
    return cases // _parts(cases, size)


def _parts(cases: int, size: int) -> int:
    if size < 1:
        raise ValueError(f"batch size {size} is less than 1")
    return -(-cases // size)


def fair_size(cases: int, workers: int, largest: int) -> int:
    """Cases per batch that keep ``workers`` busy to the end: at most ``largest``, not under `LEAST_BATCH`."""
    share = -(-cases // max(1, workers * BATCHES_PER_WORKER))
    return max(1, min(largest, max(share, LEAST_BATCH)))


def items_of(batches: Sequence[Batch], cases: Sequence[PlannedCase | None]) -> list[tuple[int, ...]]:
    """The items of each batch: places in ``cases``, ascending. An item without a case is in no batch."""
    places: dict[PlannedCase, list[int]] = {}
    for place, case in enumerate(cases):
        if case is not None:
            places.setdefault(case, []).append(place)
    return [tuple(sorted(place for case in batch for place in places.get(case, ()))) for batch in batches]


def cases_of_shard(cases: Iterable[PlannedCase], shard: Shard) -> set[PlannedCase]:
    """The cases of one shard: every ``shard.of``-th one, so that no shard gets all long cases of a suite."""
    dealt = [case for batch in plan(cases, UNLIMITED) for case in batch]
    return set(dealt[shard.number - 1 :: shard.of])


@dataclass
class Isolation(Generic[Item]):
    """Remembers which items took a worker down.

    Attributes:
        units: units that have to run by themselves, whatever batch they were cut from.
        deaths: how often an item, alone in its unit, took its worker down.
    """

    units: set[tuple[Item, ...]] = field(default_factory=set)
    deaths: dict[tuple[Item, ...], int] = field(default_factory=dict)

    def after_death(self, unit: tuple[Item, ...]) -> list[tuple[Item, ...]]:
        """Return what is to be run instead of ``unit``, during which a worker died; empty: its one item is given up."""
        if len(unit) > 1:
            middle = len(unit) // 2
            halves = [unit[:middle], unit[middle:]]
            self.units.discard(unit)
            self.units.update(halves)
            return halves
        self.deaths[unit] = self.deaths.get(unit, 0) + 1
        self.units.add(unit)
        return [unit] if self.deaths[unit] < MOST_DEATHS else []
