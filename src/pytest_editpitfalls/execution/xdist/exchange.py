"""The directory through which the processes of one run tell each other what xdist's channel has no word for.

The workers write the plan (they collect, the controller does not) and how far their batches are; the controller writes
which items have to run apart. Each file is replaced in one move, so that nobody reads half of one.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .isolation import Unit


class Exchange:
    """One run's directory.

    Args:
        folder: an existing directory that all processes of the run can write to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write_plan(self, batches: Iterable[Unit], items: Sequence[dict[str, Any] | None]) -> None:
        """Tell the batches, and what each item is about: what the report of an item needs that no worker can run.

        Every worker makes the same plan; the first one's is kept.
        """
        if not self._plan.exists():
            self._write(self._plan, {"batches": list(batches), "items": list(items)})

    def plan(self) -> tuple[list[Unit], list[dict[str, Any] | None]]:
        """The plan; raises `OSError` where no worker could write one."""
        written = json.loads(self._plan.read_text(encoding="utf-8"))
        return [tuple(batch) for batch in written["batches"]], written["items"]

    def isolate(self, units: Iterable[Unit]) -> None:
        """Tell the workers which items have to run apart from their batch."""
        self._write(self._apart, sorted(units))

    def apart(self) -> list[Unit]:
        """The units that have to run apart."""
        try:
            return [tuple(unit) for unit in json.loads(self._apart.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []

    def tell(self, worker: str, progress: dict[str, Any] | None) -> None:
        """Tell how far a worker's batch is; None: it runs none. Never an error: progress is worth no case."""
        try:
            self._write(self.folder / f"progress-{worker}.json", progress)
        except OSError:
            return

    def told(self) -> dict[str, dict[str, Any]]:
        """What each worker told last; those that run nothing are left out."""
        latest = {}
        for file in sorted(self.folder.glob("progress-*.json")):
            try:
                progress = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):  # its worker is gone
                continue
            if progress is not None:
                latest[file.stem.removeprefix("progress-")] = progress
        return latest

    @property
    def _plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def _apart(self) -> Path:
        return self.folder / "apart.json"

    def _write(self, path: Path, value: Any) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self.folder)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.replace(temporary, path)
