"""The report of a pull request, in GitHub's Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import Format

if TYPE_CHECKING:
    from pytest_editpitfalls.results.records import RunResults


def _write(results: RunResults, path: Path, where: str) -> None:
    from pytest_editpitfalls.reports.markdown import render_markdown
    from pytest_editpitfalls.results.writer import write_text

    write_text(render_markdown(results), path, where=where)


FORMAT = Format("markdown", "write a report for a pull request to this Markdown file", _write)
