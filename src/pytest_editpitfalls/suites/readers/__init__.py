"""One module per file format that suites are read from, found by being here."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.suites.benchmarks.json_rows import refuse_no_rows
from pytest_editpitfalls.suites.benchmarks.records import Records
from pytest_editpitfalls.suites.content import Reader, SuiteContent


@cache
def readers() -> tuple[Reader, ...]:
    """Return the readers of all formats, by the names of their modules."""
    modules = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return tuple(importlib.import_module(f".{name}", __package__).READER for name in modules)


def reader_of(path: Path) -> Reader | None:
    """Return the reader of a file; None where no format has its suffix.

    Where several formats have it, the one that recognises the file reads it. One that none recognises gets a reader
    that says what is wrong.
    """
    known = [reader for reader in readers() if reader.suffix == path.suffix]
    if len(known) < 2:
        return next(iter(known), None)
    return next((reader for reader in known if reader.recognises(path)), _unknown(path.suffix, known))


def edits_of(path: Path) -> Records | None:
    """Return the plain edits of a file in the form of another benchmark; None for any other file.

    Raises:
        UsageError: the file has such a form, and it, or a record of it, is wrong.
    """
    reader = reader_of(path)
    return reader.records(path) if reader is not None and reader.records is not None else None


def _unknown(suffix: str, known: list[Reader]) -> Reader:
    what = ", ".join(dict.fromkeys(reader.what for reader in known))

    def read(path: Path) -> SuiteContent:
        refuse_no_rows(path)
        raise UsageError(
            "this file has no form that is known",
            where=str(path),
            fix=f"name {what}; or write a suite in the own format (a .toml header)",
        )

    return Reader(suffix, what, read)
