"""A run with the name that reports call it by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .records import RunResults


@dataclass(frozen=True, slots=True)
class NamedRun:
    """Results and what the user called them: a file's stem, a baseline's name, or the beginning of a store's key.

    Attributes:
        name: unique among the runs of one command.
        results: the run.
    """

    name: str
    results: RunResults


def with_unique_names(runs: Iterable[NamedRun]) -> tuple[NamedRun, ...]:
    """Return the runs; the second of one name is called "name (2)"."""
    seen: dict[str, int] = {}
    named: list[NamedRun] = []
    for run in runs:
        seen[run.name] = seen.get(run.name, 0) + 1
        count = seen[run.name]
        named.append(run if count == 1 else NamedRun(f"{run.name} ({count})", run.results))
    return tuple(named)
