"""One line of the terminal that is drawn again and again, on pytest's own reporter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_editpitfalls.escaping import encodable, visible


class TerminalLine:
    """Silent in xdist's workers, under ``-q`` and, but for remarks, where there is no terminal.

    Args:
        config: pytest's configuration.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._width = 0

    @property
    def is_drawn(self) -> bool:
        """Whether the line stands on the screen now."""
        return self._width > 0

    @property
    def is_shown(self) -> bool:
        """Whether what is drawn can be seen."""
        reporter = self._reporter()
        return reporter is not None and reporter.isatty and self._config.get_verbosity() >= 0

    def say(self, text: str) -> None:
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
