"""What the processes of a run tell one another about memory that ran out: so that only one runs into it. Torch-free."""

from __future__ import annotations

from typing import Protocol

Key = tuple[str, str]
"""Model, as it is named to the engine, and editor."""


class Walls(Protocol):
    """Where it is told; neither call raises anything."""

    def tell(self, key: Key, cases: int) -> None:
        """Memory ran out in this process, and so many cases did fit."""

    def told(self, key: Key) -> int | None:
        """The fewest that did fit in any process where memory ran out; None where it did in none."""


class KnownWalls:
    """What this process was told, and what it found.

    Attributes:
        known: the fewest cases that did fit, by model and editor.
    """

    def __init__(self) -> None:
        self.known: dict[Key, int] = {}

    def tell(self, key: Key, cases: int) -> None:
        """Keep the least."""
        self.known[key] = min(cases, self.known.get(key, cases))

    def told(self, key: Key) -> int | None:
        """The least that is known."""
        return self.known.get(key)
