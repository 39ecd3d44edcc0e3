"""One self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import Format

if TYPE_CHECKING:
    from pytest_editpitfalls.results.records import RunResults


def _write(results: RunResults, path: Path, where: str) -> None:
    from pytest_editpitfalls.reports.html import write_html

    write_html(path, results, where=where)


FORMAT = Format("html", "write a report to this HTML file", _write)
