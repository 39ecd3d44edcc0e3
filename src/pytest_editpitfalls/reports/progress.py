"""What the user sees while batches run: the engine's remarks, and one line of progress on a terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.engine.settings import Expected
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
"""The engine's stage that tells how far the cases of a batch are; what comes behind it scores them."""


class TerminalLine:
    """One line that is drawn again and again, below the line that pytest is writing on its own reporter.

    Silent in xdist's workers, under ``-q`` and, but for remarks, where there is no terminal; in the log of a CI system
    it is written every 30 seconds.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._is_drawn = False
        self._busy = ""
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
        if self._busy and reporter is not None and _is_drawn_on(reporter):
            self.draw(self._busy)

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Show the text while something goes on, also behind a remark."""
        self._busy = visible(text)
        self.draw(self._busy)
        try:
            yield
        finally:
            self._busy = ""
            self.clear()

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
        self._spent = self._started = self._drawn = 0.0
        self._begun: float | None = None
        self._before_edits: float | None = None  # seconds of the batch
        self._edits: float | None = None
        self._expected: Expected | None = None
        self._pace, self._pace_of_edits = Pace(), Pace()
        self._stage = ""

    def start(self, batch: Sized, done: int, total: int, expected: Expected | None = None) -> None:
        """A batch begins."""
        self._batch_size, self._done, self._total, self._expected = len(batch), done, total, expected
        self._started, self._drawn = time.monotonic(), 0.0
        self._stage, self._before_edits, self._edits = "", None, None
        self._begun = self._begun or self._started
        self.draw(self.line(None, 0.0))

    def reached(self, done: int) -> None:
        """So many cases of the run are finished."""
        self._done = done

    def workers(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Draw the line of several processes."""
        if states and self._begun is not None:
            elapsed = time.monotonic() - self._begun
            self.draw(workers_line(states, self._done, self._total, elapsed, self._pace, self._done))

    def progress(self, progress: Progress) -> None:
        """Redraw the line when another stage begins, and at most ten times a second."""
        now = time.monotonic()
        is_new = progress.stage != self._stage
        if is_new:
            self._begin(progress.stage, now - self._started)
        if is_new or now - self._drawn >= INTERVAL:
            self._drawn = now
            self.draw(self.line(progress, now - self._started))

    def _begin(self, stage: str, elapsed: float) -> None:
        if self._before_edits is not None and self._edits is None:
            self._edits = elapsed - self._before_edits
        elif stage == CASE_STAGE:
            self._before_edits = elapsed
        self._stage = stage

    def stop(self) -> None:
        """Clear the line."""
        self._spent += time.monotonic() - self._started
        self._ran += self._batch_size
        self.clear()

    def line(self, progress: Progress | None, elapsed: float) -> str:
        """Return the line: cases done, what goes on, rate and time left; ``progress`` is None when a batch begins."""
        text = f"{self._done}/{self._total} cases | batch of {self._batch_size}"
        if progress is not None:
            text += f": {visible(progress.stage)} {progress.done}/{progress.total}"
        return text + self._time_left(progress, elapsed)

    def _time_left(self, progress: Progress | None, elapsed: float) -> str:
        left = self._total - self._done
        if self._ran:
            return self._pace.in_words(self._ran, self._spent, left, elapsed)
        in_cases = 0.0 if self._before_edits is None else elapsed - self._before_edits
        if self._edits is not None:
            share, spent = 1.0, self._edits
        elif self._before_edits is not None and progress is not None and progress.total:
            share, spent = progress.done / progress.total, in_cases
        else:
            share, spent = 0.0, 0.0
        if self._expected is not None:
            return self._pace.by_earlier_runs(self._expected, share, spent, in_cases)
        if self._edits is not None:  # what scoring takes is not known yet
            return ""
        return self._pace_of_edits.of_edits(self._batch_size * share, spent, left)


def workers_line(
    states: Mapping[str, Mapping[str, Any]], done: int, total: int, elapsed: float, pace: Pace, computed: int
) -> str:
    """Return the line of all workers.

    Args:
        states: what each worker does: ``stage``, ``done``, ``total`` and ``cases`` of its batch, and ``expected``, the
            seconds of a case by earlier runs where they are known and its first batch has not ended.
        done: cases that are reported.
        total: cases of the run.
        elapsed: seconds since the first batch began.
        pace: of this run.
        computed: those of ``done`` that this run has computed.
    """
    parts = [
        f"{visible(worker)}: {visible(str(each['stage']))}"
        + (f" {each['done']}/{each['total']} of {each['cases']}" if each["total"] else "")
        for worker, each in sorted(states.items())
    ]
    text = " | ".join([f"{done}/{total} cases", *parts])
    if computed:
        return text + pace.in_words(computed, elapsed, total - done)
    earlier = [each["expected"] for each in states.values() if each.get("expected")]
    if not earlier or not total:
        return text
    seconds = (total - done) * sum(earlier) / len(earlier) / len(states)
    return text + pace.by_earlier_runs(Expected(total - done, seconds, seconds, 1.0), 0.0, 0.0, elapsed)


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
        clock = self._clock(left / rate - elapsed)
        return f" | {rate:.2f} cases/s" + (f", {clock} left" if clock else "")

    def by_earlier_runs(self, expected: Expected, share: float, spent: float, elapsed: float) -> str:
        """Return the time left before the first batch has ended.

        The further its edits are, the more counts how much faster or slower they are than they were.

        Args:
            share: how much of the batch's edits is done, from 0 to 1.
            spent: seconds that these took.
            elapsed: seconds since the batch's edits began.
        """
        then = share * expected.batch * expected.edits
        slower = spent / then if spent and then else 1.0
        clock = self._clock(expected.seconds * (1 + share * (slower - 1)) - elapsed)
        return f" | {clock} left, by earlier runs" if clock else ""

    def of_edits(self, ran: float, spent: float, left: int) -> str:
        """Return the time that edits still take, given cases that are edited, their seconds and cases that are left."""
        clock = self._clock(left * spent / ran - spent) if ran and spent > 0 else ""
        return f" | edits: {clock} left" if clock else ""

    def _clock(self, seconds: float) -> str:
        """The time left as minutes and seconds; "" where it should be over."""
        seconds = max(0.0, seconds)
        if self._left is None or not self._left <= seconds <= FAR * self._left:
            self._left = seconds
        if not round(self._left):
            return ""
        minutes, rest = divmod(round(self._left), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
