"""What the user sees while batches run: the engine's remarks, and one line of progress on a terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sized
from typing import TYPE_CHECKING, Any

import pytest

from pytest_editpitfalls.escaping import visible

from .terminal_line import TerminalLine

if TYPE_CHECKING:
    from pytest_editpitfalls.engine.settings import Progress

INTERVAL = 0.1
"""Seconds between two drawings of the line."""

CASE_STAGE = "edit"
"""The engine's stage that takes the time of a batch; its progress is progress through the batch's cases."""


class ProgressLine:
    """The line of a run of one process; silent in xdist's workers and where there is no terminal.

    Args:
        config: pytest's configuration.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._line = TerminalLine(config)
        self._batch_size = 0
        self._done = 0
        self._total = 0
        self._ran = 0
        self._spent = 0.0
        self._started = 0.0
        self._begun: float | None = None
        self._stage = ""
        self._before_stage = 0.0
        self._drawn = 0.0

    @property
    def is_shown(self) -> bool:
        """Whether there is a terminal for it."""
        return self._line.is_shown

    def announce(self, text: str) -> None:
        """Print one remark on a line of its own (not with ``-q``)."""
        self._line.say(text)

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
            self._line.draw(workers_line(states, self._done, self._total, time.monotonic() - self._begun))

    def progress(self, progress: Progress) -> None:
        """Redraw the line, at most ten times a second."""
        now = time.monotonic()
        if progress.stage != self._stage:
            self._stage, self._before_stage = progress.stage, now - self._started
        if now - self._drawn >= INTERVAL:
            self._drawn = now
            self._line.draw(self.line(progress, now - self._started))

    def stop(self) -> None:
        """Clear the line."""
        self._spent += time.monotonic() - self._started
        self._ran += self._batch_size
        self._line.clear()

    def line(self, progress: Progress, elapsed: float) -> str:
        """Return the line: cases done, what goes on, rate and time left."""
        part = f"{visible(progress.stage)} {progress.done}/{progress.total}"
        text = f"{self._done}/{self._total} cases | batch of {self._batch_size}: {part}"
        ran, spent = float(self._ran), self._spent
        if not ran and progress.stage == CASE_STAGE and progress.total:  # the first batch: what it has done so far
            elapsed -= self._before_stage
            ran, spent = self._batch_size * progress.done / progress.total, elapsed
        if ran and spent > 0:
            rate = ran / spent
            text += _pace(rate, (self._total - self._done) / rate - elapsed)
        return text


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
    text = " | ".join([f"{done}/{total} cases", *parts])
    if done and elapsed > 0:
        rate = done / elapsed
        text += _pace(rate, (total - done) / rate)
    return text


def _pace(rate: float, left: float) -> str:
    return f" | {rate:.2f} cases/s, {_clock(max(0.0, left))} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
