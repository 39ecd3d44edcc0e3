"""What a reader of facts is, and what it counts while it reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .facts import KnownFact
from .relations import Relations

MAX_REASONS = 500
"""Reasons that are counted one by one; a file with millions of unknown relations would fill the memory with them."""
SHOWN_REASONS = 25
OTHER_REASONS = "other reasons"


@dataclass(slots=True)
class ReadingReport:
    """What happened to the records of the files.

    Attributes:
        read: how many facts there are.
        left_out: reason -> how many records were left out for it.
        examples: reason -> the first place where it occurred.
        notes: what else a user should know ("unknown columns").
    """

    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, reason: str, place: str, count: int = 1) -> None:
        if reason not in self.left_out and len(self.left_out) >= MAX_REASONS:
            reason = OTHER_REASONS
        self.left_out[reason] += count
        self.examples.setdefault(reason, place)

    def lines(self) -> list[str]:
        """Return one line per reason: how many records, and an example. The rarest of many reasons share a line."""
        ranked = self.left_out.most_common()
        lines = [
            f"{count:,} record{'s' if count > 1 else ''} left out: {reason} (first: {self.examples[reason]})"
            for reason, count in ranked[:SHOWN_REASONS]
        ]
        if rest := ranked[SHOWN_REASONS:]:
            count = sum(count for _, count in rest)
            lines.append(f"{count:,} records left out for {len(rest):,} further reasons (one is: {rest[0][0]})")
        return [*lines, *self.notes]


Progress = Callable[[Path, int, int], None]
"""Called now and then with the file, the bytes that were read of it and its size in bytes."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader needs besides the file.

    Attributes:
        relations: those that facts are wanted of.
        report: where it counts what it leaves out.
        progress: told how far it is.
        language: of the labels that are read, where a file has them in several.
    """

    relations: Relations
    report: ReadingReport = field(default_factory=ReadingReport)
    progress: Progress | None = None
    language: str = "en"


@dataclass(frozen=True, slots=True)
class FactReader:
    """A format that facts are read from. Each module of `knowledge.readers` has one, under the name ``READER``.

    Attributes:
        name: of the format ("CSV").
        suffixes: how names of its files end, in lower case, without that of a compression (".csv").
        read: gives the facts of a file one by one; what is no fact is counted in the report. Raises `UsageError` where
            the file as a whole cannot be read.
        recognises: whether a file that begins with these bytes is of this format. Asked where several formats have the
            suffix; the one of them without it reads what no other recognises.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path, Reading], Iterator[KnownFact]]
    recognises: Callable[[bytes], bool] | None = None
