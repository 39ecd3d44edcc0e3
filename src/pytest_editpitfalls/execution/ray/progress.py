"""How far Ray's actors are: one actor collects what the others report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class ProgressCollector:
    """The actor that the others report to."""

    def __init__(self) -> None:
        self._latest: dict[str, dict[str, Any]] = {}

    def report_progress(self, worker: str, progress: dict[str, Any] | None) -> None:
        """Take a worker's report; None: it runs nothing."""
        if progress is None:
            self._latest.pop(worker, None)
        else:
            self._latest[worker] = progress

    def progress(self) -> dict[str, dict[str, Any]]:
        """Return what each worker reported last."""
        return self._latest


@dataclass(frozen=True)
class RemoteCollector:
    """The way to a `ProgressCollector` in another process; without a handle nothing is reported."""

    handle: Any

    def report_progress(self, worker: str, progress: dict[str, Any] | None) -> None:
        """Send the report, and wait for nothing."""
        if self.handle is not None:
            self.handle.report_progress.remote(worker, progress)
