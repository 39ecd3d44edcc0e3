"""How far the batches of other processes are: reported by each xdist worker and each of Ray's actors."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sized
from typing import Any, Protocol

from pytest_editpitfalls.engine.settings import Progress

INTERVAL = 0.5
"""Seconds between two reports of a worker."""


class ProgressSink(Protocol):
    """Where workers report how far they are."""

    def report_progress(self, worker: str, progress: dict[str, Any] | None) -> None:
        """Report how far a worker's batch is; None: it runs none."""


class WorkerProgress:
    """The `ProgressListener` of a process that has no terminal: it reports to the one that has."""

    is_shown = True

    def __init__(self, sink: ProgressSink, worker: str) -> None:
        self._sink = sink
        self._worker = worker
        self._cases = 0
        self._reported = 0.0

    def announce(self, text: str) -> None:
        """Ignored: what an engine remarks at its start is the same in each worker."""

    def start(self, batch: Sized, done: int, total: int) -> None:
        """A batch begins."""
        self._cases, self._reported = len(batch), 0.0

    def progress(self, progress: Progress) -> None:
        """Report it, at most twice a second."""
        now = time.monotonic()
        if now - self._reported >= INTERVAL:
            self._reported = now
            facts = {
                "stage": progress.stage,
                "done": progress.done,
                "total": progress.total,
                "cases": self._cases,
            }
            self._sink.report_progress(self._worker, facts)

    def reached(self, done: int) -> None:
        """Ignored: the other process counts."""

    def workers(self, latest: Mapping[str, Mapping[str, Any]]) -> None:
        """Ignored: a worker has no workers of its own."""

    def stop(self) -> None:
        """The batch has ended."""
        self._sink.report_progress(self._worker, None)
