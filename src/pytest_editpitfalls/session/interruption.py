"""A run that is stopped in the middle: what is done stays done, and the last line says how to go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from types import FrameType

import pytest

from pytest_editpitfalls.options.config import RunConfig


class InterruptionHooks:
    """Registered in the process that the user started.

    Args:
        count: gives the cases that are in the store, and those of the run; (0, 0) before they are known.
    """

    def __init__(self, run: RunConfig, count: Callable[[], tuple[int, int]]) -> None:
        self._run = run
        self._count = count
        self._is_interrupted = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Let SIGTERM end the run as Ctrl-C does: schedulers and container engines send it."""
        can_listen = threading.current_thread() is threading.main_thread()
        if not can_listen or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # somebody else listens
            return (yield)
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            return (yield)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def pytest_keyboard_interrupt(self) -> None:
        """Ctrl-C, SIGTERM, or somebody's `pytest.exit`."""
        self._is_interrupted = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the line below everything that others write; the workers are gone by then."""
        result = yield
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if self._is_interrupted and reporter is not None and not self._run.replay:
            reporter.write_line(f"pitfalls: {self._line()}", bold=True)
        return result

    def _line(self) -> str:
        stored, total = self._count()
        if not total:
            return "stopped before the first case"
        command = "the same command without --pitfalls-fresh" if self._run.fresh and stored else "the same command"
        return f"{stored} of {total} cases are stored; {command} {'goes on with the rest' if stored else 'begins anew'}"


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt("SIGTERM")
