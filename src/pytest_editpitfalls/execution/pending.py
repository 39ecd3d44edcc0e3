"""The selected cases of a run, cut into batches, and which of them have no scores yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from . import planning
from .planning import PlannedCase, Unit
from .selected_case import SelectedCase


@dataclass
class PendingBatch:
    """What is left of a batch. Kept from one call to the next: the engine takes a large batch in several parts.

    Attributes:
        cases: the cases that have no scores yet, in order.
        missing: those of them that are known not to be in the store.
    """

    cases: dict[PlannedCase, None]
    missing: set[PlannedCase] = field(default_factory=set)


class PendingBatches:
    """The selected cases of a run, cut into batches; isolated units run apart, since a worker died in their batch.

    Attributes:
        finished: the cases that have had scores.
    """

    def __init__(self, isolated_units: Callable[[], Iterable[Unit]] = tuple) -> None:
        self._isolated_units = isolated_units
        self._items: list[PlannedCase | None] = []
        self._selected: dict[PlannedCase, SelectedCase] = {}
        self._batches: tuple[PendingBatch, ...] = ()
        self._batch_of: dict[PlannedCase, PendingBatch] = {}
        self._waiting: Counter[PlannedCase] = Counter()
        self.finished: set[PlannedCase] = set()

    def plan(self, items: Sequence[SelectedCase | None], size: int = planning.UNLIMITED) -> list[tuple[int, ...]]:
        """Take the items of the run, None for those without a case; batches are cut from these and nothing else.

        Returns the items of each batch.
        """
        self._items = [None if item is None else item.planned for item in items]
        self._waiting = Counter(planned for planned in self._items if planned is not None)
        self._selected = {item.planned: item for item in items if item is not None}
        batches = planning.plan(self._selected, size)
        self._batches = tuple(PendingBatch(dict.fromkeys(batch)) for batch in batches)
        self._batch_of = {case: batch for batch in self._batches for case in batch.cases}
        return planning.items_of(batches, self._items)

    def add(self, case: SelectedCase) -> None:
        """Make a case known that the plan may not have."""
        self._selected.setdefault(case.planned, case)

    def selected(self, case: PlannedCase) -> SelectedCase:
        """Return what the plan calls ``case``."""
        return self._selected[case]

    def containing(self, case: PlannedCase) -> PendingBatch:
        """Return what is left of a case's batch: of the unit that was isolated, otherwise of the planned batch."""
        for unit in self._isolated_units():
            isolated = {self._items[item] for item in unit}
            if case in isolated:
                left = (each for each in self._selected if each in isolated and each not in self.finished)
                return PendingBatch(dict.fromkeys(left))
        planned = self._batch_of.get(case)
        return PendingBatch({case: None}) if planned is None else planned

    def finish(self, case: PlannedCase) -> None:
        """The case has its scores."""
        self.finished.add(case)
        if (batch := self._batch_of.get(case)) is not None:
            batch.cases.pop(case, None)
            batch.missing.discard(case)

    def is_awaited(self, case: PlannedCase) -> bool:
        """Whether an item about the case is still to come."""
        return self._waiting[case] > 0

    def reported(self, case: PlannedCase) -> bool:
        """One item about the case is over; whether it was the last of the plan."""
        self._waiting[case] -= 1
        return self._waiting[case] <= 0

    def __iter__(self) -> Iterator[PendingBatch]:
        """Iterate over the planned batches."""
        return iter(self._batches)

    def all_selected(self) -> Iterable[SelectedCase]:
        """Return every case that is known here."""
        return self._selected.values()

    def __len__(self) -> int:
        """Return how many cases are known here."""
        return len(self._selected)
