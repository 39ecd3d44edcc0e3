"""One lazy registry type for everything that has a name: editors, model families, models, suites, metrics."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Generic, TypeVar, cast

from .errors import UsageError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to values, where a value may be given as ``"module:attribute"`` and is imported on first use.

    Args:
        kind: what is registered, in the singular ("editor"); used in messages.
        entries: name to value or to ``"module:attribute"``.
    """

    def __init__(self, kind: str, entries: dict[str, T | str] | None = None) -> None:
        self.kind = kind
        self._entries: dict[str, T | str] = dict(entries or {})

    def register(self, name: str, value: T | str) -> None:
        """Add ``name``; raises `UsageError` when it is taken by something else."""
        if name in self._entries and self._entries[name] != value:
            raise UsageError(f"{self.kind} '{name}' is registered twice", fix="rename one of the two")
        self._entries[name] = value

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def get(self, name: str, *, where: str | None = None) -> T:
        """Return the value of ``name``; raises `UsageError` with "did you mean" when it is unknown."""
        if name not in self._entries:
            raise UsageError(f"unknown {self.kind} '{name}'", where=where, fix=did_you_mean(name, self))
        value = self._entries[name]
        if isinstance(value, str):
            module, _, attribute = value.partition(":")
            value = cast(T, getattr(importlib.import_module(module), attribute))
            self._entries[name] = value
        return value
