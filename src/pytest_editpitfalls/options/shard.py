"""``--pitfalls-shard``: which of how many parts of the selected cases a run takes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_editpitfalls.errors import UsageError


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
