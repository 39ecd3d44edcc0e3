"""What becomes of a batch whose worker died: halves, until the case that kills is alone; then it is quarantined."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")

Unit = tuple[int, ...]
"""Items that one worker runs in a row (places in the collection)."""

ALONE = 2
"""Times that an item may take its worker down alone before it is given up."""

GIVEN_UP = (
    f"its worker process died {ALONE} times while running it alone: the case is given up, the others go on"
)
"""Why such a case is an error."""


@dataclass
class Isolation(Generic[Item]):
    """Remembers which items took a worker down.

    Attributes:
        apart: units that have to run by themselves, whatever batch they were cut from.
        deaths: how often an item, alone in its unit, took its worker down.
    """

    apart: set[tuple[Item, ...]] = field(default_factory=set)
    deaths: dict[tuple[Item, ...], int] = field(default_factory=dict)

    def after_death(self, unit: tuple[Item, ...]) -> list[tuple[Item, ...]]:
        """What is to be run instead of ``unit``, in whose midst a worker died; empty: its one item is given up."""
        if len(unit) > 1:
            middle = len(unit) // 2
            halves = [unit[:middle], unit[middle:]]
            self.apart.discard(unit)
            self.apart.update(halves)
            return halves
        self.deaths[unit] = self.deaths.get(unit, 0) + 1
        self.apart.add(unit)
        return [unit] if self.deaths[unit] < ALONE else []
