"""The result file, which the commands on stored runs read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import Format

if TYPE_CHECKING:
    from pytest_editpitfalls.results.records import RunResults


def _write(results: RunResults, path: Path, where: str) -> None:
    from pytest_editpitfalls.results.writer import write_results

    write_results(results, path, where=where)


FORMAT = Format("json", "write all results to this JSON file", _write, order=0)
