"""The line that pytest is writing, ended for a remark and taken up again before pytest writes on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

_NAME = "editpitfalls-line"

_WITH_SHARE = ("progress", "count")
"""The values of ``console_output_style`` with which pytest ends each line of letters with how far it is."""


class PytestsLine:
    """The path and the letters, or with ``-v`` the item, at the end of what pytest's reporter has written.

    Without this, pytest puts the next letter on a line of its own behind a remark and prints the path once more below.
    It is a plugin of the run from the first remark on.
    """

    @classmethod
    def of(cls, config: pytest.Config) -> PytestsLine:
        """Return the one of this run."""
        if (found := config.pluginmanager.get_plugin(_NAME)) is None:
            found = cls(config)
            config.pluginmanager.register(found, _NAME)
        assert isinstance(found, cls)
        return found

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._broken_at: str | Path | None = None  # pytest's `currentfspath`; with -v what the line begins with

    def end(self, reporter: Any, *, can_erase: bool) -> None:
        """End the line, so that a remark can stand on the next one.

        Args:
            can_erase: whether the terminal moves its cursor: a heading that has no letter yet goes, and comes back
                behind the remark.
        """
        place = reporter.currentfspath
        if line := reporter._tw._current_line:
            is_bare = isinstance(place, str | Path) and line.endswith(" ")  # what comes of an item ends with none
            self._leave(reporter, line, erase=is_bare and can_erase)
        if place is not None:
            self._broken_at = place if isinstance(place, str | Path) else None
        reporter.currentfspath = None  # pytest takes it for an empty line, which it is

    def _leave(self, reporter: Any, line: str, *, erase: bool) -> None:
        writer = reporter._tw
        if erase:
            rows = (writer.width_of_current_line - 1) // writer.fullwidth
            writer._file.write((f"\x1b[{rows}A" if rows else "") + "\r\x1b[J")
            writer._current_line = ""
            return
        has_letters = not (line.endswith(" ") or reporter.showlongtestinfo)
        if has_letters and reporter._show_progress_info in _WITH_SHARE:
            reporter._write_progress_information_filling_space()
            if reporter._is_last_item:  # pytest would write it once more, into an empty line
                reporter._show_progress_info = False
        writer.line()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """The next item begins: the letters of its file go on behind the file's path."""
        if isinstance(self._broken_at, Path):
            self._resume(nodeid)
        self._broken_at = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The item has an outcome, which pytest writes behind the path, or with ``-v`` behind the item."""
        is_written = report.when == "call" or not report.passed
        if self._broken_at is None or not is_written:
            return
        if isinstance(self._broken_at, Path):
            self._resume(report.nodeid)
        elif not hasattr(report, "node"):  # a worker's: there pytest-xdist's form names the item itself
            self._write(self._broken_at, self._broken_at)
        self._broken_at = None

    def _resume(self, nodeid: str) -> None:
        path = self._config.rootpath / nodeid.partition("::")[0]
        self._write(f"{_from(self._reporter.startpath, path)} ", path)

    def _write(self, heading: str, place: str | Path) -> None:
        self._reporter._tw.write(heading)
        self._reporter.currentfspath = place

    @property
    def _reporter(self) -> Any:
        return self._config.pluginmanager.get_plugin("terminalreporter")


def _from(directory: Path, path: Path) -> str:
    try:
        return os.path.relpath(path, directory)
    except ValueError:  # another drive
        return str(path)
