"""What a reader of facts is, and what it counts while it reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .facts import KnownFact
from .relations import Relations


@dataclass(slots=True)
class ReadingReport:
    """What happened to the records of the files.

    Attributes:
        read: how many records became facts.
        left_out: reason -> how many records were left out for it.
        examples: reason -> the first place where it occurred.
        notes: what else a user should know ("unknown columns").
    """

    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, reason: str, place: str) -> None:
        self.left_out[reason] += 1
        self.examples.setdefault(reason, place)

    def lines(self) -> list[str]:
        """Return one line per reason: how many records, and an example."""
        return [
            *(
                f"{count:,} record{'s' if count > 1 else ''} left out: {reason} (first: {self.examples[reason]})"
                for reason, count in self.left_out.most_common()
            ),
            *self.notes,
        ]


Progress = Callable[[Path, int, int], None]
"""Called now and then with the file, the bytes that were read of it and its size in bytes."""


@dataclass(frozen=True, slots=True)
class FactReader:
    """A format that facts are read from. Each module of `knowledge.readers` has one, under the name ``READER``.

    Attributes:
        name: of the format ("CSV").
        suffixes: how names of its files end, in lower case (".csv", ".csv.gz").
        read: gives the facts of a file one by one; what is no fact is counted in the report. Raises `UsageError` where
            the file as a whole cannot be read.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path, Relations, ReadingReport, Progress | None], Iterator[KnownFact]]
