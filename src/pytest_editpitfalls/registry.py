"""One lazy registry type for everything that has a name: editors, model families, models, suites, metrics."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from inspect import ismodule
from typing import Any, Generic, TypeVar, cast

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
        """Return the value of ``name``.

        Raises:
            UsageError: it is unknown ("did you mean"), or cannot be imported.
        """
        if name not in self._entries:
            raise UsageError(f"unknown {self.kind} '{name}'", where=where, fix=did_you_mean(name, self))
        value = self._entries[name]
        if isinstance(value, str):
            value = cast(T, imported(value, where=where or f"{self.kind} '{name}'"))
            self._entries[name] = value
        return value


def imported(path: str, *, where: str) -> Any:
    """The object at ``package.module:attribute``.

    Raises:
        UsageError: there is no such module or attribute, or importing it raises; in the exception's own words.
    """
    module, _, attribute = path.partition(":")
    try:
        value: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        own = module == missing or module.startswith(f"{missing}.")
        fix = (
            "check the spelling; it is looked for in the directory you are in, in pytest's rootdir and among the "
            "installed packages"
            if own
            else f"install {missing}, which {module} imports"
        )
        raise UsageError(f"{module} cannot be imported: {error}", where=where, fix=fix) from None
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{module} cannot be imported: {type(error).__name__}: {error}{_place(error)}",
            where=where,
            fix=f"correct it until python -c 'import {module}' runs",
        ) from None
    for part in attribute.split("."):
        if not hasattr(value, part):
            names = [name for name in vars(value) if not name.startswith("_") and not ismodule(vars(value)[name])]
            raise UsageError(f"{module} has no attribute '{attribute}'", where=where, fix=did_you_mean(part, names))
        value = getattr(value, part)
    return value


def origin_of(entry: EntryPoint) -> str:
    """The package that declares an entry point and what it points to, for messages and lists."""
    package = f"package {entry.dist.name} {entry.dist.version}" if entry.dist is not None else "a package"
    return f"{package} ({entry.value})"


def _place(error: BaseException) -> str:
    """File and line of the innermost frame, which is the user's."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
