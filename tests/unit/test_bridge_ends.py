"""The other interpreter's process and its folder end with the run, however that ends. No torch: a stand-in hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pytest_editpitfalls.engine.outside import bridge
from pytest_editpitfalls.execution.time_limit import EXIT_STATUS, BatchTimeout, time_limit

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="groups of processes")

HANGING = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
pathlib.Path({started!r}).write_text(f"{{os.getpid()}} {{child.pid}}")
time.sleep(600)
"""
PARENT = """
import sys, threading, tempfile, time
from pathlib import Path
from pytest_editpitfalls.engine.outside import bridge
from pytest_editpitfalls.execution.time_limit import time_limit

tempfile.tempdir = {folders!r}

def when_it_hangs(timer):
    while len(Path({started!r}).read_text().split() if Path({started!r}).exists() else "") < 2:
        time.sleep(0.02)
    timer.function(*timer.args, **timer.kwargs)

if {by_watchdog!r}:
    threading.Timer.run = when_it_hangs  # no clock says when

def edit():
    with time_limit(600.0, "the batch", print):
        bridge._check_import("mine:edit", Path({python!r}), {editor!r}, "--pitfalls-editor", "")

thread = threading.Thread(target=edit)  # no signal reaches it: the watchdog ends the process
thread.start()
thread.join()
"""


class Other:
    """An interpreter without packages, whose torch hangs when it is imported, and starts a process before."""

    def __init__(self, folder: Path) -> None:
        self.started, self.folders, packages = folder / "started", folder / "folders", folder / "packages"
        self.python = folder / "python"
        self.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "$@"\n')
        self.python.chmod(0o755)
        self.folders.mkdir()
        packages.mkdir()
        (packages / "torch.py").write_text(HANGING.format(started=str(self.started)))
        self.editor = {"module": "mine", "attribute": "edit", "path": [str(packages)]}

    def wait(self) -> list[int]:
        """Wait until it hangs; its process and the one that this has started."""
        assert eventually(lambda: self.started.exists() and len(self.started.read_text().split()) == 2)
        return list(map(int, self.started.read_text().split()))

    def has_ended(self, processes: list[int]) -> bool:
        return not any(map(runs, processes)) and not list(self.folders.iterdir())


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return not Path("/proc/self").exists()


def eventually(holds: object, seconds: float = 60.0) -> bool:
    until = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def other(tmp_path: Path) -> Other:
    return Other(tmp_path)


@pytest.mark.parametrize("by_watchdog", [True, False])
def test_nothing_is_left_of_a_process_that_is_ended(other: Other, by_watchdog: bool) -> None:
    source = PARENT.format(
        folders=str(other.folders),
        python=str(other.python),
        editor=other.editor,
        started=str(other.started),
        by_watchdog=by_watchdog,
    )
    parent = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    processes = other.wait()
    if not by_watchdog:
        parent.kill()
    assert parent.wait(timeout=60) == (EXIT_STATUS if by_watchdog else -signal.SIGKILL)
    assert eventually(lambda: other.has_ended(processes))


def test_nothing_is_left_of_an_edit_that_takes_too_long(other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process goes on; what the other interpreter has started ends, too."""
    monkeypatch.setattr(bridge.tempfile, "tempdir", str(other.folders))
    told: list[list[int]] = []
    main = threading.get_ident()

    def interrupt() -> None:
        told.append(other.wait())
        signal.pthread_kill(main, signal.SIGALRM)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(BatchTimeout), time_limit(600.0, "the batch", print):
        bridge._check_import("mine:edit", other.python, other.editor, "--pitfalls-editor", "")
    assert eventually(lambda: other.has_ended(told[0]))
