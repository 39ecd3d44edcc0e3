"""What steps find, unit by unit: kept as it comes, so that nothing is lost by what fails or takes too long later."""

from __future__ import annotations

import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

Figures = dict[str, Any]
Emit = Callable[[Figures], None]
"""Takes one event: plain JSON types."""


class OutOfTime(BaseException):
    """The step's time is up. No `Exception`: the engine takes those for errors of a case, and goes on."""


class DeviceLost(BaseException):
    """After an error of this kind CUDA refuses every call of the process; another process may still use the GPU."""


class Recorder:
    """The units of one step.

    Args:
        step: its name.
        device: "cpu" or "cuda".
        known: units that an earlier process has measured; they are not measured again.
        emit: told when a unit begins, and what it found.
        deadline: of `time.monotonic`, when the step has to end.

    Attributes:
        units: what was found, by unit; ``{"error": ...}`` where a unit failed.
    """

    def __init__(self, step: str, device: str, known: Mapping[str, Figures], emit: Emit, deadline: float) -> None:
        self.device = device
        self.units: dict[str, Figures] = dict(known)
        self._step, self._emit, self._deadline = step, emit, deadline

    def left(self) -> float:
        """Seconds that the step has left."""
        return self._deadline - time.monotonic()

    def measure(self, unit: str, work: Callable[[], Figures]) -> Figures | None:
        """What ``work`` finds; None where it failed, which is recorded, with its traceback in the log.

        Raises:
            DeviceLost: the GPU answers no more in this process.
        """
        if unit not in self.units:
            self._emit({"step": self._step, "unit": unit})
            started = time.monotonic()
            try:
                found = work()
            except Exception as error:
                print(f"{self._step}, {unit}:", file=sys.stderr)
                traceback.print_exc()
                found = {"error": one_line(error)}
            found["took_seconds"] = round(time.monotonic() - started, 2)
            self.units[unit] = found
            self._emit({"step": self._step, "unit": unit, "figures": found})
            if "error" in found:
                self._check_device()
        return None if "error" in self.units[unit] else self.units[unit]

    def _check_device(self) -> None:
        """Raises `DeviceLost` where the GPU does not even add any more."""
        if self.device == "cpu":
            return
        try:
            torch.cuda.synchronize()
            torch.ones(1, device=self.device).add_(1).item()
        except RuntimeError as error:
            raise DeviceLost(one_line(error)) from error


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises `OutOfTime` in the block after so many seconds: between two lines of Python, never inside a kernel.

    Only in a main thread of a system with alarms; elsewhere the block has to look at the clock itself.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_number: int, _frame: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def one_line(error: BaseException) -> str:
    """Kind and message in a line of a table: no pipe, no line break, not for ever."""
    said = " ".join(str(error).split()).replace("|", "/")
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."
