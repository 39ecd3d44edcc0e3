"""Lines that everybody has to see: in pytest's header, or in its summary where there is no header."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from pytest_editpitfalls.escaping import visible


def show(config: pytest.Config, lines: Sequence[str]) -> None:
    """Have the lines shown once, in the process that the user started; call it while pytest is configured."""
    if not lines or hasattr(config, "workerinput"):
        return
    texts = [visible(f"pitfalls: {line}") for line in lines]
    if config.pluginmanager.is_blocked("terminal"):
        for text in texts:
            print(text, file=sys.stderr)
    else:
        config.pluginmanager.register(Notices(texts), "editpitfalls-notices")


class Notices:
    """Hooks that show lines."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._are_shown = False

    def pytest_report_header(self) -> Sequence[str]:
        """Show them, unless ``-q`` or ``--no-header`` leaves the header out."""
        self._are_shown = True
        return self._lines

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show them where there was no header."""
        if not self._are_shown:
            for line in self._lines:
                terminalreporter.write_line(line)
