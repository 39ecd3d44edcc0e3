"""A limit on the time of one batch, or of one edit that a test asks for (``--pitfalls-timeout``)."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

GRACE = 30.0
"""Seconds after the limit until a process that does not react to the signal is ended."""

EXIT_STATUS = 75
"""Exit status of a process that was ended so (as EX_TEMPFAIL: run it again)."""


class BatchTimeout(BaseException):
    """The batch took too long. No `Exception`: an editor's own ``except Exception`` must not swallow it."""


def too_slow(editor: str, seconds: float | None) -> str:
    """Return what is said of a case that took too long."""
    return f"editor '{editor}' took longer than {seconds:g} s (--pitfalls-timeout)"


@contextmanager
def time_limit(seconds: float | None, what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Raise `BatchTimeout` inside the block when it takes longer than ``seconds``.

    Python code is interrupted by a signal. Code that never comes back to Python (and any code where there is no such
    signal: on Windows, or outside of the main thread) is ended with its process after `GRACE` seconds more: what is
    finished is in the store, and xdist replaces a worker that is gone.

    Args:
        seconds: None means no limit.
        what: what is running, for the message that ``say`` shows when a process is ended.
    """
    if seconds is None:
        yield
        return
    listens = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    watchdog = threading.Timer(seconds + (GRACE if listens else 0.0), _end_process, (seconds, what, say))
    watchdog.daemon = True
    watchdog.start()
    previous = None
    if listens:

        def interrupt(_: int, __: FrameType | None) -> None:
            raise BatchTimeout

        previous = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        if listens:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, previous or signal.SIG_DFL)
        watchdog.cancel()


def _end_process(seconds: float, what: str, say: Callable[[str], None]) -> None:
    say(f"{what} did not stop after {seconds:g} s; this process ends, what is finished is in the store")
    faulthandler.dump_traceback(sys.__stderr__ or sys.stderr)
    os._exit(EXIT_STATUS)
