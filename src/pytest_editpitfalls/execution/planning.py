"""Selected cases to batches and shards. Pure: the same items give the same batches, in whatever order they stand."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_editpitfalls.errors import UsageError

BATCHES_PER_WORKER = 3
"""Batches that each worker should get at least, so that no worker waits long for the last one."""

LEAST_BATCH = 4
"""Cases under which a batch is not cut smaller for the sake of busy workers."""


@dataclass(frozen=True, slots=True)
class Group:
    """What is edited together: cases of one suite, by one editor, in one model (labels)."""

    suite: str
    editor: str
    model: str


@dataclass(frozen=True, slots=True)
class Slot:
    """One selected case: its group and its place in the suite, counted from 0 in file order."""

    group: Group
    index: int


Batch = tuple[Slot, ...]
"""Cases of one group, in the order of their suite, that one process runs."""


def plan(slots: Iterable[Slot], size: int) -> tuple[Batch, ...]:
    """Cut the cases into batches of one group and at most ``size`` cases, all of about the same length.

    Groups come in the order in which they first appear; repeated cases count once. Raises `ValueError` for a size
    under 1.
    """
    selected: dict[Group, set[int]] = {}
    for slot in slots:
        selected.setdefault(slot.group, set()).add(slot.index)
    return tuple(
        batch
        for group, indices in selected.items()
        for batch in cut(tuple(Slot(group, index) for index in sorted(indices)), size)
    )


def cut(batch: Batch, size: int) -> list[Batch]:
    """Cut into the fewest parts of at most ``size`` cases; their lengths differ by one at most."""
    if size < 1:
        raise ValueError(f"batch size {size} is less than 1")
    parts = -(-len(batch) // size)
    bounds = [len(batch) * part // max(1, parts) for part in range(parts + 1)]
    return [batch[start:end] for start, end in itertools.pairwise(bounds)]


def fair_size(cases: int, workers: int, largest: int) -> int:
    """Cases per batch that keep ``workers`` busy to the end: at most ``largest``, not under `LEAST_BATCH`."""
    share = -(-cases // max(1, workers * BATCHES_PER_WORKER))
    return max(1, min(largest, max(share, LEAST_BATCH)))


def items_of(batches: Sequence[Batch], slots: Sequence[Slot | None]) -> list[tuple[int, ...]]:
    """The items of each batch: places in ``slots``, ascending. An item without a case is in no batch."""
    places: dict[Slot, list[int]] = {}
    for place, slot in enumerate(slots):
        if slot is not None:
            places.setdefault(slot, []).append(place)
    return [tuple(sorted(place for slot in batch for place in places.get(slot, ()))) for batch in batches]


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``of`` parts of the selected cases; ``number`` counts from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str, *, where: str) -> Shard:
        """Read ``3/16``; raises `UsageError` for anything else."""
        match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(
                f"'{text}' is no shard",
                where=where,
                fix="write which of how many, counted from 1: --pitfalls-shard=3/16",
            )
        return cls(int(match[1]), int(match[2]))

    def of_slots(self, slots: Iterable[Slot]) -> set[Slot]:
        """The cases of this shard: every ``of``-th one, so that no shard gets all of one suite's long ones."""
        dealt = [slot for batch in plan(slots, size=2**31) for slot in batch]
        return set(dealt[self.number - 1 :: self.of])
