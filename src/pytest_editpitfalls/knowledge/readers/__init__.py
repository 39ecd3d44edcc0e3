"""One module per format that facts are read from, found by being here."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.knowledge.facts import KnownFact
from pytest_editpitfalls.knowledge.reading import FactReader, Reading

from ._text import COMPRESSIONS, head_of


@cache
def fact_readers() -> tuple[FactReader, ...]:
    """Return the readers of all formats, by the names of their modules."""
    names = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    modules = (importlib.import_module(f".{name}", __package__) for name in names if not name.startswith("_"))
    return tuple(module.READER for module in modules)


def read_facts(path: Path, reading: Reading) -> Iterator[KnownFact]:
    """Give the facts of one file, by the reader of its suffix; where several have the suffix, its beginning decides.

    Raises:
        UsageError: no reader has its suffix, or the file cannot be read.
    """
    name = path.name.lower()
    for suffix in COMPRESSIONS:
        name = name.removesuffix(suffix)
    readers = [reader for reader in fact_readers() if name.endswith(reader.suffixes)]
    if not readers:
        known = ", ".join(suffix for reader in fact_readers() for suffix in reader.suffixes)
        raise UsageError(
            "no reader of facts knows this kind of file",
            where=str(path),
            fix=f"give a file that ends in {known}; it may be packed ({', '.join(COMPRESSIONS)})",
        )
    yield from _by_content(readers, path).read(path, reading)


def _by_content(readers: list[FactReader], path: Path) -> FactReader:
    if len(readers) == 1:
        return readers[0]
    head = head_of(path)
    recognised = (reader for reader in readers if reader.recognises is not None and reader.recognises(head))
    others = (reader for reader in readers if reader.recognises is None)
    return next(recognised, None) or next(others, readers[0])
