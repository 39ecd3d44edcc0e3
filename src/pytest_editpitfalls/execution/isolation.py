"""What becomes of a batch whose worker died: it is halved until the case that kills is alone, then given up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")

Unit = tuple[int, ...]
"""Items that one worker runs in a row (places in the collection)."""

MOST_DEATHS = 2
"""Times that an item may take its worker down while it runs alone; then it is given up."""

GIVEN_UP = f"its worker process died {MOST_DEATHS} times while running it alone: the case is given up, the others go on"
"""Why such a case is an error."""


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
