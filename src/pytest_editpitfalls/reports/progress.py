"""What the user sees while batches run: the engine's remarks, and one line of progress on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.escaping import encodable, visible

if TYPE_CHECKING:
    import pytest

    from pytest_editpitfalls.engine.settings import Progress

INTERVAL = 0.1
"""Seconds between two drawings of the line."""

CASE_STAGE = "edit"
"""The engine's stage that takes the time of a batch; its progress is progress through the batch's cases."""


class TerminalLine:
    """One line that is drawn again and again, on pytest's own reporter.

    Silent in xdist's workers, under ``-q`` and, but for remarks, where there is no terminal.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._width = 0

    @property
    def is_shown(self) -> bool:
        """Whether what is drawn can be seen."""
        reporter = self._reporter()
        return reporter is not None and reporter.isatty and self._config.get_verbosity() >= 0

    def announce(self, text: str) -> None:
        """Print a remark that stays, on a line of its own (not with ``-q``)."""
        self.clear()
        reporter = self._reporter()
        if reporter is not None and self._config.get_verbosity() >= 0:
            with self._shown():
                reporter.ensure_newline()
                line = visible(text, keep_newlines=True)
                encoding = getattr(reporter._tw._file, "encoding", None)
                reporter.write_line(encodable(f"pitfalls: {line}", encoding))

    def draw(self, text: str) -> None:
        """Draw the line anew."""
        reporter = self._reporter()
        if not self.is_shown:
            return
        with self._shown():
            if not self._width:
                reporter.ensure_newline()
            text = text[: max(10, reporter._tw.fullwidth - 1)]
            reporter.rewrite(text.ljust(self._width))
            if not text:
                reporter.rewrite("")
            self._width = len(text)
            reporter.flush()

    def clear(self) -> None:
        """Take the line from the screen."""
        if self._width:
            self.draw("")

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


class ProgressLine(TerminalLine):
    """The line of a run of one process."""

    def __init__(self, config: pytest.Config) -> None:
        super().__init__(config)
        self._batch_size = self._done = self._total = self._ran = 0
        self._spent = self._started = self._before_stage = self._drawn = 0.0
        self._begun: float | None = None
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
            self.draw(workers_line(states, self._done, self._total, time.monotonic() - self._begun))

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
        return text + _pace(ran, spent, self._total - self._done, elapsed)


def workers_line(states: Mapping[str, Mapping[str, Any]], done: int, total: int, elapsed: float) -> str:
    """Return the line of all workers.

    Args:
        states: what each worker does: ``stage``, ``done``, ``total`` and ``cases`` of its batch.
        done: cases that are reported.
        total: cases of the run.
        elapsed: seconds since the first batch began.
    """
    parts = [
        f"{visible(worker)}: {visible(str(each['stage']))} {each['done']}/{each['total']} of {each['cases']}"
        for worker, each in sorted(states.items())
    ]
    return " | ".join([f"{done}/{total} cases", *parts]) + _pace(done, elapsed, total - done)


def _pace(ran: float, spent: float, left: int, elapsed: float = 0.0) -> str:
    """Cases per second, and the time for what is left, of which some has elapsed; "" where nothing is known yet."""
    if not ran or spent <= 0:
        return ""
    rate = ran / spent
    minutes, seconds = divmod(round(max(0.0, left / rate - elapsed)), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f" | {rate:.2f} cases/s, {clock} left"
