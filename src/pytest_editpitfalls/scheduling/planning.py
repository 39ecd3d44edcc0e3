"""Selected cases to batches. Pure: the same selection gives the same batches, in whatever order it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True)
class Batch:
    """Cases that run through the engine in one call; ``indices`` are places in the suite, ascending."""

    group: Group
    indices: tuple[int, ...]


def plan(slots: Iterable[Slot]) -> dict[Group, tuple[int, ...]]:
    """Return the selected places of each group in canonical suite order; repeated cases count once."""
    selected: dict[Group, set[int]] = {}
    for slot in slots:
        selected.setdefault(slot.group, set()).add(slot.index)
    return {group: tuple(sorted(indices)) for group, indices in selected.items()}


def cut(group: Group, indices: tuple[int, ...], size: int) -> list[Batch]:
    """Cut a group's places into batches of at most ``size`` (at least 1)."""
    if size < 1:
        raise ValueError(f"batch size {size} is less than 1")
    return [Batch(group, indices[start : start + size]) for start in range(0, len(indices), size)]


def batch_of(group: Group, indices: tuple[int, ...], index: int, size: int) -> Batch:
    """Return the batch that the case at place ``index`` belongs to; raises `KeyError` when it is not selected."""
    for batch in cut(group, indices, size):
        if index in batch.indices:
            return batch
    raise KeyError(index)
