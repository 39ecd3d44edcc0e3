"""How far the workers' batches are: written by each worker, drawn by a thread of the controller."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from pytest_editpitfalls.reports.progress import workers_line
from pytest_editpitfalls.reports.terminal_line import TerminalLine

from .exchange import Exchange

if TYPE_CHECKING:
    from pytest_editpitfalls.engine.settings import Progress

INTERVAL = 0.5
"""Seconds between two of a worker's messages, and between two drawings."""


class Told(Protocol):
    """Where workers tell how far they are."""

    def tell(self, worker: str, progress: dict[str, Any] | None) -> None:
        """Tell how far a worker's batch is; None: it runs none."""


class WorkerWatcher:
    """What a worker's batches tell; the controller draws it.

    Args:
        board: where it is written.
        worker: name of this worker ("gw0").
    """

    is_shown = True

    def __init__(self, board: Told, worker: str) -> None:
        self._board = board
        self._worker = worker
        self._cases = 0
        self._told = 0.0

    def announce(self, text: str) -> None:
        """A worker has no terminal: what an engine remarks at its start is the same in each."""

    def start(self, batch: Sized, done: int, total: int) -> None:
        """A batch begins."""
        self._cases, self._told = len(batch), 0.0

    def progress(self, progress: Progress) -> None:
        """Tell it, at most twice a second."""
        now = time.monotonic()
        if now - self._told >= INTERVAL:
            self._told = now
            facts = {
                "stage": progress.stage,
                "done": progress.done,
                "total": progress.total,
                "cases": self._cases,
            }
            self._board.tell(self._worker, facts)

    def reached(self, done: int) -> None:
        """The controller counts."""

    def workers(self, told: Mapping[str, Mapping[str, Any]]) -> None:
        """A worker has none of its own."""

    def stop(self) -> None:
        """The batch has ended."""
        self._board.tell(self._worker, None)


class Board:
    """Draws what the workers tell, between pytest's own lines.

    Args:
        line: the terminal's line.
        exchange: where the workers write.
        count: gives the cases that are reported and the cases of the run.
    """

    def __init__(self, line: TerminalLine, exchange: Exchange, count: Callable[[], tuple[int, int]]) -> None:
        self._line = line
        self._exchange = exchange
        self._count = count
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="editpitfalls-progress", daemon=True)
        self._started = 0.0

    def start(self) -> None:
        """Begin to draw."""
        self._thread.start()

    def stop(self) -> None:
        """Take the line from the screen, for good."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2 * INTERVAL)
        with self._lock:
            self._line.clear()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """The line is off the screen, and stays off, while somebody else writes."""
        with self._lock:
            self._line.clear()
            yield

    def _work(self) -> None:
        while not self._stop.wait(INTERVAL):
            told = self._exchange.told()
            if not told:
                continue
            self._started = self._started or time.monotonic()
            done, total = self._count()
            with self._lock:
                if not self._stop.is_set():
                    self._line.draw(workers_line(told, done, total, time.monotonic() - self._started))
