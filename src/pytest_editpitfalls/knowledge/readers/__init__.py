"""One module per format that facts are read from, found by being here."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.knowledge.facts import KnownFact
from pytest_editpitfalls.knowledge.reading import FactReader, Progress, ReadingReport
from pytest_editpitfalls.knowledge.relations import Relations


@cache
def fact_readers() -> tuple[FactReader, ...]:
    """Return the readers of all formats, by the names of their modules."""
    names = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    modules = (importlib.import_module(f".{name}", __package__) for name in names if not name.startswith("_"))
    return tuple(module.READER for module in modules)


def read_facts(
    path: Path, relations: Relations, report: ReadingReport, progress: Progress | None = None
) -> Iterator[KnownFact]:
    """Give the facts of one file, by the reader of its suffix.

    Raises:
        UsageError: no reader has its suffix, or the file cannot be read.
    """
    name = path.name.lower()
    for reader in fact_readers():
        if name.endswith(reader.suffixes):
            yield from reader.read(path, relations, report, progress)
            return
    known = ", ".join(suffix for reader in fact_readers() for suffix in reader.suffixes)
    raise UsageError(
        "no reader of facts knows this kind of file", where=str(path), fix=f"give a file that ends in {known}"
    )
