"""What the user sees while batches run: the engine's remarks, and one line of progress on a terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.escaping import encodable, visible

from .pytests_line import PytestsLine

if TYPE_CHECKING:
    import pytest

    from pytest_editpitfalls.engine.settings import Progress

INTERVAL = 0.1
"""Seconds between two drawings of the line."""

CI_INTERVAL = 30.0
"""Seconds between two lines in the log of a CI system."""

FAR = 1.5
"""By which factor the time left has to grow before a greater one is shown."""

CASE_STAGE = "edit"
"""The engine's stage that takes the time of a batch; its progress is progress through the batch's cases."""


class TerminalLine:
    """One line that is drawn again and again, below the line that pytest is writing on its own reporter.

    Silent in xdist's workers, under ``-q`` and, but for remarks, where there is no terminal; in the log of a CI system
    it is written every 30 seconds.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._is_drawn = False
        self._written = time.monotonic()

    @property
    def is_shown(self) -> bool:
        """Whether what is drawn can be seen."""
        reporter = self._reporter()
        return reporter is not None and self._config.get_verbosity() >= 0 and (_is_drawn_on(reporter) or _is_ci())

    def announce(self, text: str) -> None:
        """Print a remark that stays, on a line of its own (not with ``-q``)."""
        self.clear()
        reporter = self._reporter()
        if reporter is not None and self._config.get_verbosity() >= 0:
            with self._shown():
                PytestsLine.of(self._config).end(reporter, can_erase=_is_drawn_on(reporter))
                line = visible(text, keep_newlines=True)
                encoding = getattr(reporter._tw._file, "encoding", None)
                reporter.write_line(encodable(f"pitfalls: {line}", encoding))

    def draw(self, text: str) -> None:
        """Draw the line anew."""
        if not self.is_shown:
            return
        if _is_drawn_on(self._reporter()):
            self._put(text)
            self._is_drawn = True
        elif time.monotonic() - self._written >= CI_INTERVAL:
            self._written = time.monotonic()
            self.announce(text)

    def clear(self) -> None:
        """Take the line from the screen."""
        if self._is_drawn:
            self._put("")
            self._is_drawn = False

    def _put(self, text: str) -> None:
        """Write below pytest's own line, and go back to the end of that: its letters stay together."""
        writer = self._reporter()._tw
        written, width = writer.width_of_current_line, writer.fullwidth
        column = written % width  # a longer line goes on in the next row
        if written and not column:  # the row is full: the cursor is on its last letter, and nothing leads back there
            return
        text = encodable(text[: max(10, width - 1)], getattr(writer._file, "encoding", None))
        below, back = ("\n", f"\x1b[1A\r\x1b[{column}C") if column else ("", "\r")
        with self._shown():
            writer._file.write(f"{below}\r{text}\x1b[K{back}")
            writer._file.flush()

    def _reporter(self) -> Any:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    @contextmanager
    def _shown(self) -> Iterator[None]:
        """Let output through pytest's capturing."""
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        if capture is None:
            yield
        else:
            with capture.global_and_fixture_disabled():
                yield


def _is_drawn_on(reporter: Any) -> bool:
    return bool(reporter.isatty) and os.environ.get("TERM") != "dumb"  # which does not move its cursor


def _is_ci() -> bool:
    return any(map(os.environ.get, ("CI", "BUILD_NUMBER")))  # as pytest tells it


class ProgressLine(TerminalLine):
    """The line of a run of one process."""

    def __init__(self, config: pytest.Config) -> None:
        super().__init__(config)
        self._batch_size = self._done = self._total = self._ran = 0
        self._spent = self._started = self._before_stage = self._drawn = 0.0
        self._begun: float | None = None
        self._pace = Pace()
        self._stage = ""

    def start(self, batch: Sized, done: int, total: int) -> None:
        """A batch begins."""
        self._batch_size, self._done, self._total = len(batch), done, total
        self._started, self._drawn = time.monotonic(), 0.0
        self._stage, self._before_stage = "", 0.0
        self._begun = self._begun or self._started

    def reached(self, done: int) -> None:
        """So many cases of the run are finished."""
        self._done = done

    def workers(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Draw the line of several processes."""
        if states and self._begun is not None:
            self.draw(workers_line(states, self._done, self._total, time.monotonic() - self._begun, self._pace))

    def progress(self, progress: Progress) -> None:
        """Redraw the line, at most ten times a second."""
        now = time.monotonic()
        if progress.stage != self._stage:
            self._stage, self._before_stage = progress.stage, now - self._started
        if now - self._drawn >= INTERVAL:
            self._drawn = now
            self.draw(self.line(progress, now - self._started))

    def stop(self) -> None:
        """Clear the line."""
        self._spent += time.monotonic() - self._started
        self._ran += self._batch_size
        self.clear()

    def line(self, progress: Progress, elapsed: float) -> str:
        """Return the line: cases done, what goes on, rate and time left."""
        part = f"{visible(progress.stage)} {progress.done}/{progress.total}"
        text = f"{self._done}/{self._total} cases | batch of {self._batch_size}: {part}"
        ran, spent = float(self._ran), self._spent
        if not ran and progress.stage == CASE_STAGE and progress.total:  # the first batch: what it has done so far
            elapsed -= self._before_stage
            ran, spent = self._batch_size * progress.done / progress.total, elapsed
        return text + self._pace.in_words(ran, spent, self._total - self._done, elapsed)


def workers_line(states: Mapping[str, Mapping[str, Any]], done: int, total: int, elapsed: float, pace: Pace) -> str:
    """Return the line of all workers.

    Args:
        states: what each worker does: ``stage``, ``done``, ``total`` and ``cases`` of its batch.
        done: cases that are reported.
        total: cases of the run.
        elapsed: seconds since the first batch began.
        pace: of this run.
    """
    parts = [
        f"{visible(worker)}: {visible(str(each['stage']))} {each['done']}/{each['total']} of {each['cases']}"
        for worker, each in sorted(states.items())
    ]
    return " | ".join([f"{done}/{total} cases", *parts]) + pace.in_words(done, elapsed, total - done)


class Pace:
    """How fast cases are done, and the time for those that are left.

    That does not go up and down with each batch: it rises only where the cases turn out to be far slower.
    """

    def __init__(self) -> None:
        self._left: float | None = None

    def in_words(self, ran: float, spent: float, left: int, elapsed: float = 0.0) -> str:
        """Return both, given cases that ran, their seconds, cases that are left and seconds that these had already.

        "" where nothing is known yet.
        """
        if not ran or spent <= 0:
            return ""
        rate = ran / spent
        seconds = max(0.0, left / rate - elapsed)
        if self._left is None or not self._left <= seconds <= FAR * self._left:
            self._left = seconds
        if not round(self._left):
            return f" | {rate:.2f} cases/s"
        minutes, rest = divmod(round(self._left), 60)
        hours, minutes = divmod(minutes, 60)
        clock = f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
        return f" | {rate:.2f} cases/s, {clock} left"
