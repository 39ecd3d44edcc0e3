"""The directory through which the processes of one run exchange what xdist's own channel does not carry.

The workers write the plan (they collect, the controller does not) and how far their batches are; the controller writes
which items have to run apart. Each file is replaced in one move, so that nobody reads half of one; what grows with the
run's cases is a file of lines that are added.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

from pytest_editpitfalls.engine.walls import Key, KnownWalls
from pytest_editpitfalls.execution.planning import PlannedCase, Unit
from pytest_editpitfalls.execution.repeatability import Unrepeatable

ItemFacts = dict[str, Any]
"""What the controller has to know of an item, as plain JSON types: `CASE_KEY`, and what the plan's writer likes."""

CASE_KEY = ("suite", "editor", "model", "index")
"""The facts that tell the cases of a run apart."""


class RunDirectory:
    """One run's directory: an existing one that all processes of the run can write to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._plan, self._isolated = folder / "plan.json", folder / "isolated.json"

    def write_plan(self, batches: Iterable[Unit], items: Sequence[ItemFacts | None]) -> None:
        """Write the items of each batch, and the facts of each item; None for an item without a case.

        Every worker makes the same plan; the first one's is kept.
        """
        if not self._plan.exists():
            self._write(self._plan, {"batches": list(batches), "items": list(items)})

    def read_plan(self) -> tuple[list[Unit], list[ItemFacts | None]]:
        """Read the plan; raises `OSError` where no worker could write one."""
        written = json.loads(self._plan.read_text(encoding="utf-8"))
        return [tuple(batch) for batch in written["batches"]], written["items"]

    def isolate(self, units: Iterable[Unit]) -> None:
        """Let the workers know which items have to run apart from their batch."""
        self._write(self._isolated, sorted(units))

    def isolated_units(self) -> list[Unit]:
        """Return the units that have to run apart."""
        try:
            return [tuple(unit) for unit in json.loads(self._isolated.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []

    def report_unrepeatable(self, worker: str, found: Sequence[Unrepeatable]) -> None:
        """Report the editors of which a worker found, when its last case had run, that they do not repeat."""
        self._write(self.folder / f"unrepeatable-{worker}.json", [asdict(each) for each in found])

    def unrepeatable(self) -> list[Unrepeatable]:
        """Return what all workers found, one of each editor and model."""
        files = sorted(self.folder.glob("unrepeatable-*.json"))
        found = [Unrepeatable(**each) for file in files for each in json.loads(file.read_text(encoding="utf-8"))]
        return list({(each.editor, each.model): each for each in found}.values())

    def report_progress(self, worker: str, progress: dict[str, Any] | None) -> None:
        """Report how far a worker's batch is; None: it runs none. Never raises: progress is not worth a failed run."""
        try:
            self._write(self.folder / f"progress-{worker}.json", progress)
        except OSError:
            return

    def progress(self) -> dict[str, dict[str, Any]]:
        """Return what each worker reported last; those that run nothing are left out."""
        latest = {}
        for file in sorted(self.folder.glob("progress-*.json")):
            try:
                progress = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):  # its worker is gone
                continue
            if progress is not None:
                latest[file.stem.removeprefix("progress-")] = progress
        return latest

    def report_stored(self, worker: str, cases: Iterable[PlannedCase], *, anew: bool = False) -> None:
        """Report cases of which a worker knows that they are in the store; never raises, as `report_progress`.

        Args:
            cases: those that it did not report before; with ``anew`` all.
        """
        lines = "".join(json.dumps([*astuple(case.group), case.index]) + "\n" for case in cases)
        file = self.folder / f"stored-{worker}.jsonl"
        with contextlib.suppress(OSError), file.open("w" if anew else "a", encoding="utf-8") as stored:
            stored.write(lines)

    def stored_count(self) -> int:
        """Return how many cases the workers know to be in the store."""
        found: set[str] = set()
        for file in self.folder.glob("stored-*.jsonl"):
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            found.update(line for line in lines if line.endswith("\n"))  # not one that is just being written
        return len(found)

    def walls(self, worker: str) -> WorkerWalls:
        """Return where a worker tells the others which batches did not fit."""
        return WorkerWalls(self, worker)

    def report_walls(self, worker: str, known: KnownWalls) -> None:
        """Report what a worker found; never raises, as `report_progress`."""
        with contextlib.suppress(OSError):
            self._write(self.folder / f"walls-{worker}.json", [[*key, cases] for key, cases in known.known.items()])

    def known_walls(self) -> KnownWalls:
        """Return what all workers have found."""
        found = KnownWalls()
        for file in self.folder.glob("walls-*.json"):
            with contextlib.suppress(OSError, ValueError):
                for model, editor, cases in json.loads(file.read_text(encoding="utf-8")):
                    found.tell((model, editor), cases)
        return found

    def _write(self, path: Path, value: Any) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self.folder)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.replace(temporary, path)


class WorkerWalls:
    """One worker's `Walls`: what it finds goes into the run's directory, and what all have found comes from there."""

    def __init__(self, directory: RunDirectory, worker: str) -> None:
        self._directory, self._worker = directory, worker
        self._own = KnownWalls()

    def tell(self, key: Key, cases: int) -> None:
        """Tell the other workers."""
        self._own.tell(key, cases)
        self._directory.report_walls(self._worker, self._own)

    def told(self, key: Key) -> int | None:
        """Ask what any worker has found."""
        return self._directory.known_walls().told(key)
