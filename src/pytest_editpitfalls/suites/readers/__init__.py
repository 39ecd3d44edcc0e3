"""One module per file format that suites are read from, found by being here."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from pytest_editpitfalls.suites.content import Reader


@cache
def readers() -> tuple[Reader, ...]:
    """Return the readers of all formats, by the names of their modules."""
    modules = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return tuple(importlib.import_module(f".{name}", __package__).READER for name in modules)


def reader_of(path: Path) -> Reader | None:
    """Return the reader of a file; None where no format has its suffix.

    Where several formats have it, the first that recognises the file reads it, and the last one says what is wrong with
    a file that none does.
    """
    known = [reader for reader in readers() if reader.suffix == path.suffix]
    return next((reader for reader in known[:-1] if reader.recognises(path)), known[-1] if known else None)
