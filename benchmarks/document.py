"""What a run of ``python -m benchmarks`` leaves: a JSON document, a Markdown file, sections of docs/performance.md."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.outputs import write_text

from . import machine
from .part import Asked, Measured

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "performance.md"
FORMAT = 1


class Document:
    """Collects what the parts find, so that a run that ends early has left what it measured.

    Attributes:
        head: machine, versions, commit, threads and date.
        measured: by part.
    """

    def __init__(self, asked: Asked) -> None:
        now = datetime.datetime.now(datetime.timezone.utc)
        self.head: dict[str, Any] = {
            "format": FORMAT,
            "date": now.isoformat(timespec="seconds"),
            "commit": commit(),
            "quick": asked.quick,
            "model": asked.model,
            "machine": machine.describe(asked.device),
            "matrix_gflop_per_second": machine.matrix_rates(asked.device),
            "versions": machine.versions(),
        }
        self.measured: dict[str, Measured] = {}

    def data(self) -> dict[str, Any]:
        """The whole document, as plain JSON types."""
        ratios: dict[str, float] = {}
        for each in self.measured.values():
            ratios |= each.ratios
        return {
            **self.head,
            "parts": {name: each.figures for name, each in self.measured.items()},
            "ratios": ratios,
        }

    def write_json(self, path: Path) -> None:
        """Raises `UsageError` where the file cannot be written."""
        write_text(json.dumps(self.data(), indent=2) + "\n", path, where=f"--json {path}")

    def markdown(self) -> str:
        """All parts' sections behind one line about the run."""
        sections = [each.markdown.strip() for each in self.measured.values()]
        return "\n\n".join(["# Measurements", self.origin(), *sections]) + "\n"

    def write_markdown(self, path: Path) -> None:
        """Raises `UsageError` where the file cannot be written."""
        write_text(self.markdown(), path, where=f"--markdown {path}")

    def origin(self) -> str:
        """When, what and where, in one line."""
        own, versions = self.head["machine"], self.head["versions"]
        place = f"{own['gpu']} ({own['gpu_memory_gb']} GB), " if "gpu" in own else ""
        return (
            f"*Measured {self.head['date'][:10]} at commit {self.head['commit'] or 'unknown'}"
            f"{' with --quick' if self.head['quick'] else ''}: {place}{own['cpu']}, {own['cores']} cores, "
            f"{own['memory_gb']} GB, {own['threads']} thread(s); torch {versions['torch']}, transformers "
            f"{versions['transformers']}, Python {versions['python']}.*"
        )

    def refresh(self, path: Path = DOCS) -> None:
        """Write each measured part's section between its markers; what was skipped replaces nothing.

        Raises:
            UsageError: the page or a part's markers are missing, or the page cannot be written.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"cannot read the page: {error.strerror}",
                where=str(path),
                fix="run in a checkout of the repository",
            ) from error
        sections = {
            name: f"{_under_the_heading(each.markdown, self.origin())}"
            for name, each in self.measured.items()
            if "skipped" not in each.figures or not generated(text, name).strip()
        }
        write_text(refreshed(text, sections), path, where="--refresh-docs")


def refreshed(text: str, sections: Mapping[str, str]) -> str:
    """``text`` with what stands between the parts' markers replaced; raises `UsageError` where markers are missing."""
    for name, section in sections.items():
        begin, end = markers(name)
        old = generated(text, name)
        text = text.replace(f"{begin}{old}{end}", f"{begin}\n\n{section.strip()}\n\n{end}", 1)
    return text


def generated(text: str, name: str) -> str:
    """What stands between a part's markers; raises `UsageError` where they are missing."""
    begin, end = markers(name)
    found = re.search(f"{re.escape(begin)}(.*?){re.escape(end)}", text, flags=re.DOTALL)
    if found is None:
        raise UsageError(
            f"the page has no place for part '{name}'",
            where="docs/performance.md",
            fix=f"put the lines {begin} and {end} where its section belongs",
        )
    return found[1]


def markers(name: str) -> tuple[str, str]:
    """The lines around a part's section."""
    return f"<!-- generated: {name} -->", f"<!-- end of generated: {name} -->"


def commit() -> str | None:
    """The checkout's commit, with "+" where tracked files differ from it; None outside of a git checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip() or None


def _under_the_heading(markdown: str, line: str) -> str:
    """A section with ``line`` below its heading."""
    heading, _, rest = markdown.strip().partition("\n")
    return f"{heading}\n\n{line}\n{rest}"
