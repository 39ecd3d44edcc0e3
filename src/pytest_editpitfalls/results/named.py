"""A run with the name that reports call it by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .records import RunResults


@dataclass(frozen=True, slots=True)
class NamedRun:
    """Results and what the user called them: a file's stem, a baseline's name, or the beginning of a store's key."""

    name: str
    results: RunResults


def with_unique_names(runs: Iterable[NamedRun]) -> tuple[NamedRun, ...]:
    """Return the runs; the second of one name is called "name (2)"."""
    seen: Counter[str] = Counter()
    named = []
    for run in runs:
        seen[run.name] += 1
        named.append(run if seen[run.name] == 1 else replace(run, name=f"{run.name} ({seen[run.name]})"))
    return tuple(named)
