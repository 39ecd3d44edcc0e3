"""The tests marked ``gpu``, in a process of their own: what they find is counted, whatever becomes of the process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .recorder import Figures, Recorder
from .sizes import Sizes

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "pytest", "tests/gpu", "-m", "gpu", "-v", "--tb=short", "-p", "no:cacheprovider")

_OUTCOME = re.compile(r"^(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b")
"""A line of ``pytest -v``. It is there when the test has ended, so that a run that is broken off has counted so far."""

SPARE = 3.0
"""Seconds of the step that are left for what comes behind the process."""


def measure(recorder: Recorder, sizes: Sizes) -> None:
    """Run them; the unit is "pytest"."""
    del sizes
    recorder.measure("pytest", lambda: run(COMMAND, max(1.0, recorder.left() - SPARE)))


def run(command: Sequence[str], seconds: float) -> Figures:
    """Run pytest for so many seconds at most; its output goes to the log.

    Returns:
        the number of each outcome ("passed", "failed", "skipped", ...), "exit_status", "not_passed" (names of tests
        that failed), "cut_short" where time was up, and pytest's last line.
    """
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "EDITPITFALLS_CACHE": cache, "PYTHONPATH": _with_root(os.environ)}
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # workers of pytest-xdist end with it
        )
        timed_out = threading.Event()

        def stop() -> None:
            timed_out.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip())
                print(line, end="", flush=True)
            status = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        finally:
            timer.cancel()
    outcomes = [match.groups() for line in lines if (match := _OUTCOME.match(line))]
    counts = Counter(outcome.lower() for _, outcome in outcomes)
    found: Figures = {
        **counts,
        "exit_status": status,
        "not_passed": sorted({name for name, outcome in outcomes if outcome in ("FAILED", "ERROR")}),
        "last_line": next((line.strip("= ") for line in reversed(lines) if line.strip()), ""),
    }
    if timed_out.is_set():
        found["cut_short"] = f"after {seconds:.0f} s"
    elif not counts:
        raise RuntimeError(f"no test has run (exit status {status}): {found['last_line']}")
    return found


def _with_root(environment: os._Environ[str]) -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [environment.get("PYTHONPATH")])])
