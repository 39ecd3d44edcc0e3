"""How far the reading of files is: a bar with the time left on a terminal, else a line every half minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pytest_editpitfalls.escaping import visible

EVERY = 30.0
"""Seconds between two lines where there is no terminal."""
PATIENCE = 1.0
"""Seconds before a bar is shown: most files are read by then."""


class ReadingProgress(AbstractContextManager["ReadingProgress"]):
    """Called as a `knowledge.reading.Progress`: with a file, the bytes that were read of it and its size.

    Args:
        console: where it is shown; not given: standard error, so that what a command prints can be piped.
        clock: seconds, of any beginning.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(stderr=True) if console is None else console
        self._clock = clock
        self._bar = Progress(
            TextColumn("reading {task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            get_time=clock,
        )
        self._tasks: dict[Path, TaskID] = {}
        self._begun: dict[Path, float] = {}
        self._told = self._start = clock()

    def __enter__(self) -> ReadingProgress:
        self._told = self._start = self._clock()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar.live.is_started:
            self._bar.stop()

    def __call__(self, path: Path, read: int, size: int) -> None:
        now = self._clock()
        begun = self._begun.setdefault(path, now)
        if self._console.is_terminal:
            if path not in self._tasks:
                self._tasks[path] = self._bar.add_task(visible(path.name), total=size)
            self._bar.update(self._tasks[path], completed=read, visible=read < size)
            if now - self._start >= PATIENCE:
                self._bar.start()
        elif now - self._told >= EVERY:
            self._told = now
            self._console.print(_line(path, read, size, now - begun), markup=False, highlight=False, soft_wrap=True)


def _line(path: Path, read: int, size: int, spent: float) -> str:
    left = ""
    if read and read < size:
        minutes, seconds = divmod(round(spent * (size - read) / read), 60)
        left = f", {minutes} min {seconds} s left"
    return f"reading {visible(path.name)}: {read / max(size, 1):.0%} of {size / 1e6:,.0f} MB{left}"
