"""What an editor of the user's raised and printed, as reports show it."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest._code.code import ExceptionChainRepr, ExceptionRepr

from pytest_editpitfalls.causes import Wanted

WHOLE = ("long", "native")
"""Styles of ``--tb`` that ask for the whole story."""

_PACKAGE = Path(__file__).parents[1]
_LINES = 6
"""Lines of what an editor printed that a report shows: many print hundreds for each edit."""


def wanted_causes(config: pytest.Config) -> Wanted:
    """What a run shows of what editors raise; a debugger needs the frames with all that is in them."""
    if config.getoption("usepdb", False):
        return "variables"
    if style_of(config) not in WHOLE:
        return "nothing"
    return "variables" if config.getoption("showlocals", False) else "lines"


def style_of(config: pytest.Config) -> str:
    """The value of ``--tb``; pytest has neither it nor ``-l`` without its terminal reporter (``-p no:terminal``)."""
    return str(config.getoption("tbstyle", "auto"))


def with_cause(excinfo: pytest.ExceptionInfo[BaseException], config: pytest.Config) -> ExceptionRepr:
    """The traceback of what the editor raised, from its own code on, and our message below it."""
    cause = excinfo.value.__cause__
    assert cause is not None
    raised = pytest.ExceptionInfo.from_exception(cause)
    theirs = [entry for entry in raised.traceback if not Path(entry.path).is_relative_to(_PACKAGE)]
    if theirs:
        first = next(i for i, entry in enumerate(raised.traceback) if entry is theirs[0])
        raised.traceback = type(raised.traceback)(raised.traceback[first:])
    shown = raised.getrepr(
        style="native" if style_of(config) == "native" else "long",
        showlocals=bool(config.getoption("showlocals", False)),
        chain=True,
    )
    ours = excinfo.getrepr(style="value")
    if not isinstance(shown, ExceptionChainRepr) or not isinstance(ours, ExceptionChainRepr):
        return shown
    chain = [*shown.chain[:-1], (*shown.chain[-1][:2], "The case is an error because of this:"), ours.chain[-1]]
    return ExceptionChainRepr(chain)


def fold_output(report: pytest.TestReport) -> None:
    """Leave the first lines of what was printed while a case ran; with ``-s`` pytest captures nothing to fold."""
    report.sections = [
        (name, _folded(text) if name.startswith("Captured std") else text) for name, text in report.sections
    ]


def _folded(text: str) -> str:
    lines = text.splitlines(keepends=True)
    if len(lines) <= _LINES:
        return text
    return "".join(lines[:_LINES]) + f"... and {len(lines) - _LINES} more lines (-s shows them)\n"
