"""With ``-v``, why a case failed stands behind its outcome; where the terminal has no room for it there, below."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_editpitfalls.escaping import encodable, visible

_MORE = "..."
_SHARE = len(" [100%]") + 1
"""Columns that pytest takes behind the outcome."""


class ReasonHooks:
    """Registered in the process that has the terminal.

    pytest asks for the words of an outcome in several places; the reason belongs into the one line of the item.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._in_line: tuple[pytest.TestReport, str] | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, object, object]:
        """Have pytest write the reason, or write it behind or below what pytest has written."""
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        reason = "" if reporter is None or not reporter.showlongtestinfo else _reason_of(report)
        if not reason:
            return (yield)
        writer = reporter._tw
        from_worker = hasattr(report, "node")  # there pytest writes the outcome first and the item behind it
        word = "ERROR" if report.when != "call" else "FAILED"
        item = reporter.currentfspath if isinstance(reporter.currentfspath, str) else f"{report.nodeid} "
        reason = encodable(visible(reason), getattr(writer._file, "encoding", None))
        fits = len(item) + len(word) + len(f" ({reason})") + _SHARE <= writer.fullwidth
        self._in_line = (report, f"{word} ({reason})") if fits and not from_worker and report.failed else None
        try:
            result = yield
        finally:
            is_written, self._in_line = self._in_line is not None, None
        if from_worker and writer.width_of_current_line + len(f"({reason})") < writer.fullwidth:
            writer.write(f"({reason})" if writer._current_line.endswith(" ") else f" ({reason})")
        elif report.failed and not is_written:
            writer.write(f"\n  {reason}" if reporter.verbosity > 1 else "\n" + _cut(f"  {reason}", writer.fullwidth))
        writer.flush()
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: object) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        """Return pytest's own status of a failed case, with the reason in its words, while its line is written."""
        if self._in_line is None or report is not self._in_line[0]:
            return None
        category, letter = ("failed", "F") if self._in_line[0].when == "call" else ("error", "E")
        return category, letter, (self._in_line[1], {"red": True})


def _reason_of(report: pytest.TestReport) -> str:
    """Why a case did not pass, or a property does not hold; "" where one does, or the report tells of neither."""
    if report.outcome == "passed":
        return ""
    if (case := getattr(report, "pitfall", None)) is not None:
        return (case["record"]["reason"] or "").partition("\n")[0]
    if (found := getattr(report, "pitfall_property", None)) is not None:
        return (found["record"]["failure"] or "").partition("\n")[0]
    return ""


def _cut(text: str, width: int) -> str:
    return text if len(text) < width else text[: width - 1 - len(_MORE)] + _MORE
