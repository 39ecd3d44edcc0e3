"""The forms that a run can be written in: one module of this folder each, found by being here.

A module says ``FORMAT = Format(...)``: that makes the option ``--pitfalls-NAME=PATH`` of pytest and the option
``--NAME=PATH`` of ``editpitfalls report``. Every start of pytest imports these modules: what writing needs is imported
when something is written.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_editpitfalls.results.records import RunResults


@dataclass(frozen=True, slots=True)
class Format:
    """One form of report.

    Attributes:
        name: one word.
        help: what the option does, as help says it.
        writer: "module:function". The function takes ``results``, ``path`` and ``where`` (the option that named the
            path, for messages), and writes the file whole or raises `UsageError`.
        order: the lowest is written first: a report that fails takes no result file with it.
    """

    name: str
    help: str
    writer: str
    order: int = 100

    @property
    def option(self) -> str:
        """The option of pytest."""
        return f"--pitfalls-{self.name}"

    def write(self, results: RunResults, path: Path, where: str) -> None:
        """Write a run; raises `UsageError` where the file cannot be written."""
        module, _, function = self.writer.partition(":")
        getattr(importlib.import_module(module), function)(results=results, path=path, where=where)


def _found() -> tuple[Format, ...]:
    files = (name.partition(".") for name in os.listdir(Path(__file__).parent))
    names = sorted({stem for stem, _, suffix in files if suffix == "py" and stem != "__init__"})
    found: list[Format] = [importlib.import_module(f".{name}", __name__).FORMAT for name in names]
    return tuple(sorted(found, key=lambda each: each.order))


FORMATS = _found()
"""All forms, in their order."""
