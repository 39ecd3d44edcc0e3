"""Watches the process that measures: one that dies or hangs costs the unit that it was at, and another one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .recorder import Figures

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "benchmarks.gpu.child")

GRACE = 15.0
"""Seconds behind a step's limit after which its process is ended: a kernel that does not come back hears no alarm."""

DEVICE_LOST = 3
"""Exit status of a process whose GPU answers no more; what it was at is written down."""

MOST_DEATHS = 2
"""Processes that one step may cost before the next step has its turn."""

SILENT = "it did not answer, and its process was ended"
LOST = "the GPU answered no more in this process"

LOOK = 0.2
"""Seconds between two looks at what the process has written."""


class Supervisor:
    """Runs steps in a process of their own, and in another one where that ends before it is through.

    Args:
        sizes: a key of `sizes.SIZES`.
        device: "cpu" or "cuda".
        steps: names and titles of the steps, in their order.
        seconds: for all of them together.
        keep: called whenever there is more.
        command: starts the process; the paths of the order and of the events are added.

    Attributes:
        found: by step: "title", "state" ("done", "cut short", "failed: ...", "not begun", "running"), "seconds",
            "limit_seconds", "units".
    """

    def __init__(
        self,
        sizes: str,
        device: str,
        steps: Sequence[tuple[str, str]],
        seconds: float,
        keep: Callable[[], None] = lambda: None,
        *,
        command: Sequence[str] = COMMAND,
        grace: float = GRACE,
    ) -> None:
        self.found: dict[str, Figures] = {
            name: {"title": title, "state": "not begun", "units": {}} for name, title in steps
        }
        self._sizes, self._device, self._seconds, self._keep = sizes, device, seconds, keep
        self._command, self._grace = command, grace
        self._running: str | None = None
        self._unit: str | None = None
        self._kill_at = 0.0
        self._heard = False  # whether the process has said anything
        self._reached: set[str] = set()
        self._deaths: Counter[str] = Counter()

    def run(self) -> None:
        """Run until all steps have ended, or time is up."""
        end = time.monotonic() + self._seconds
        while True:  # each process ends a step, or is one of the few that a step may cost
            left = [name for name in self.found if name not in self._reached]
            seconds = end - time.monotonic()
            if not left or seconds < 1:
                return
            self._one_process(left, seconds)

    def _one_process(self, steps: Sequence[str], seconds: float) -> None:
        self._running = self._unit = None
        self._heard = False
        self._kill_at = time.monotonic() + seconds + self._grace
        with tempfile.TemporaryDirectory() as folder:
            order, events = Path(folder) / "order.json", Path(folder) / "events"
            known = {name: own["units"] for name, own in self.found.items()}
            # By the clock of the system: to start Python and torch takes some of the seconds.
            end = time.time() + seconds
            asked = {"sizes": self._sizes, "device": self._device, "steps": steps, "end": end, "known": known}
            order.write_text(json.dumps(asked), encoding="utf-8")
            events.touch()
            environment = {**os.environ, "HF_HUB_OFFLINE": "1"}  # nothing is fetched, and nobody waits for a network
            process = subprocess.Popen([*self._command, str(order), str(events)], cwd=ROOT, env=environment)
            try:
                with events.open(encoding="utf-8") as written:
                    ended = self._watch(process, written)
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()
        self._close(ended)

    def _watch(self, process: subprocess.Popen[bytes], written: Any) -> str:
        """Take events until the process has ended; returns how, in words."""
        rest = ""
        while True:
            over = process.poll() is not None
            rest += written.read()
            *lines, rest = rest.split("\n")
            for line in lines:
                self._take(json.loads(line))
            if lines:
                self._keep()
            if over:
                return _how_it_ended(process.returncode)
            if time.monotonic() > self._kill_at:
                process.kill()
                process.wait()
                return SILENT
            time.sleep(LOOK)

    def _take(self, event: dict[str, Any]) -> None:
        own = self.found[event["step"]]
        self._running, self._heard = event["step"], True
        if "limit" in event:
            own["state"], own["limit_seconds"] = "running", event["limit"]
            self._kill_at = time.monotonic() + event["limit"] + self._grace
        if "figures" in event:
            own["units"][event["unit"]] = event["figures"]
            self._unit = None
        elif "unit" in event:
            self._unit = event["unit"]
        if "state" in event:
            own["state"] = event["state"]
            own["seconds"] = round(own.get("seconds", 0.0) + event.get("seconds", 0.0), 1)
            self._reached.add(event["step"])
            self._running = None

    def _close(self, ended: str) -> None:
        """The process is gone: what it was at has failed, and is not tried again."""
        if self._running is None:
            if not self._heard:  # it has not even begun: another one would not either
                for name in self.found.keys() - self._reached:
                    self.found[name]["state"] = f"failed: {ended}"
                    self._reached.add(name)
            self._keep()
            return
        own = self.found[self._running]
        self._deaths[self._running] += 1
        if self._unit is not None:
            own["units"][self._unit] = {"error": ended}
        knows_where = self._unit is not None or ended == LOST
        if ended == SILENT or not knows_where or self._deaths[self._running] >= MOST_DEATHS:
            own["state"] = f"failed: {ended}"
            self._reached.add(self._running)
        self._keep()  # otherwise the next process goes on behind the unit


def _how_it_ended(status: int) -> str:
    if status < 0:
        try:
            return f"the process died of {signal.Signals(-status).name}"
        except ValueError:
            return f"the process died of signal {-status}"
    return LOST if status == DEVICE_LOST else f"the process ended with status {status}"
