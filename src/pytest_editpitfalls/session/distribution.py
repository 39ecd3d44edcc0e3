"""The session in xdist's controller: shows how far the workers are, and reports cases that no worker survives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_editpitfalls.execution.planning import GIVEN_UP
from pytest_editpitfalls.execution.xdist.controller import Controller
from pytest_editpitfalls.reports.progress import Pace, TerminalLine, workers_line

from .item_report import ItemReport
from .recorder import Recorder

INTERVAL = 0.5
"""Seconds between two drawings."""


class WorkersLine:
    """A thread that draws what the workers report, between pytest's own lines.

    Args:
        progress: gives what each worker reported last.
        count: gives the cases that are reported, the cases of the run, and those that were computed in it.
    """

    def __init__(
        self,
        line: TerminalLine,
        progress: Callable[[], Mapping[str, Mapping[str, Any]]],
        count: Callable[[], tuple[int, int, int]],
    ) -> None:
        self._line = line
        self._progress = progress
        self._count = count
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._draw, name="editpitfalls-progress", daemon=True)
        self._started = 0.0
        self._pace = Pace()

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

    def _draw(self) -> None:
        while not self._stop.wait(INTERVAL):
            progress = self._progress()
            if not progress:
                continue
            if not self._started and any(each["total"] for each in progress.values()):  # not while models are loaded
                self._started = time.monotonic()
            done, total, computed = self._count()
            elapsed = time.monotonic() - self._started if self._started else 0.0
            with self._lock:
                if not self._stop.is_set():
                    self._line.draw(workers_line(progress, done, total, elapsed, self._pace, computed))


class DistributionHooks:
    """Registered beside the hooks of the session, in xdist's controller."""

    def __init__(self, config: pytest.Config, controller: Controller, recorder: Recorder) -> None:
        self._controller = controller
        self._line = WorkersLine(
            TerminalLine(config),
            controller.directory.progress,
            lambda: (len(recorder.reports), controller.case_count(), recorder.computed),
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Begin to draw."""
        self._line.start()

    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """Report an item that no worker survives as an error of its case, with everything that is known of it."""
        report.longrepr = GIVEN_UP
        report.when = "setup"  # an error, not a failure: there is nothing to judge
        if (facts := self._controller.facts_of(crashitem)) is not None:
            ours = ItemReport.given_up(facts, crashitem, GIVEN_UP)
            report.pitfall = ours.to_wire()  # type: ignore[attr-defined]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Generator[None, object, object]:
        """The line of progress makes room for pytest's own."""
        with self._line.hidden():
            return (yield)

    pytest_runtest_logstart = pytest_runtest_logreport

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Stop drawing."""
        self._line.stop()
