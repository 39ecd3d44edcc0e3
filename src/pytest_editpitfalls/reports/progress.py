"""What the user sees while batches run: the engine's remarks, and one line of progress on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from .escaping import encodable, visible

if TYPE_CHECKING:
    from pytest_editpitfalls.engine.settings import Progress
    from pytest_editpitfalls.scheduling.planning import Batch

INTERVAL = 0.1
"""Seconds between two drawings of the line."""

CASE_STAGE = "edit"
"""The engine's stage that takes the time of a batch; its progress is progress through the batch's cases."""


class ProgressLine:
    """Draws on pytest's own terminal reporter; silent in xdist's workers and where there is no terminal.

    Args:
        config: pytest's configuration.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._batch_size = 0
        self._done = 0
        self._total = 0
        self._ran = 0
        self._spent = 0.0
        self._started = 0.0
        self._stage = ""
        self._before_stage = 0.0
        self._drawn = 0.0
        self._width = 0

    def announce(self, text: str) -> None:
        """Print one remark on a line of its own (not with ``-q``)."""
        reporter = self._reporter()
        if reporter is not None and self._config.get_verbosity() >= 0:
            with self._shown():
                reporter.ensure_newline()
                line = visible(text, keep_newlines=True)
                reporter.write_line(encodable(f"pitfalls: {line}", self._encoding(reporter)))

    def start(self, batch: Batch, done: int, total: int) -> None:
        """A batch begins."""
        self._batch_size, self._done, self._total = len(batch.indices), done, total
        self._started, self._drawn = time.monotonic(), 0.0
        self._stage, self._before_stage = "", 0.0

    def progress(self, progress: Progress) -> None:
        """Redraw the line, at most ten times a second."""
        now = time.monotonic()
        if progress.stage != self._stage:
            self._stage, self._before_stage = progress.stage, now - self._started
        if now - self._drawn >= INTERVAL:
            self._drawn = now
            self._draw(self.line(progress, now - self._started))

    def stop(self) -> None:
        """Clear the line."""
        self._spent += time.monotonic() - self._started
        self._ran += self._batch_size
        if self._width:
            self._draw("")

    def line(self, progress: Progress, elapsed: float) -> str:
        """Return the line: cases done, what goes on, rate and time left."""
        part = f"{visible(progress.stage)} {progress.done}/{progress.total}"
        text = f"{self._done}/{self._total} cases | batch of {self._batch_size}: {part}"
        ran, spent = float(self._ran), self._spent
        if (
            not ran and progress.stage == CASE_STAGE and progress.total
        ):  # the first batch: what it has done so far
            elapsed -= self._before_stage
            ran, spent = self._batch_size * progress.done / progress.total, elapsed
        if ran and spent > 0:
            rate = ran / spent
            left = max(0.0, (self._total - self._done) / rate - elapsed)
            text += f" | {rate:.2f} cases/s, {_clock(left)} left"
        return text

    def _draw(self, text: str) -> None:
        reporter = self._reporter()
        if reporter is None or not reporter.isatty or self._config.get_verbosity() < 0:
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

    def _reporter(self) -> Any:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    @staticmethod
    def _encoding(reporter: Any) -> str | None:
        return getattr(reporter._tw._file, "encoding", None)

    @contextmanager
    def _shown(self) -> Iterator[None]:
        """Let output through pytest's capturing."""
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        if capture is None:
            yield
        else:
            with capture.global_and_fixture_disabled():
                yield


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
