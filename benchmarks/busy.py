"""A run beside other work: how much longer it takes next to processes that keep a core busy, and what its share is.

With as many threads as cores, a run's fair share beside S busy processes is cores / (cores + S) of the machine.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch

from pytest_editpitfalls.cores import usable_cores

from .part import Asked, Measured
from .plugin import Folder
from .tables import table

BUSY = (0, 1, 2)
"""Processes that each keep a core busy."""

TARGET = 1.5
"""How much longer than its fair share a run may take."""

WAYS: dict[str, Sequence[str]] = {
    "one process": (),
    "two workers (`-n 2`)": ("-p", "xdist.plugin", "-n", "2"),
    "two Ray actors": ("--pitfalls-engine=ray:2",),
}
NEEDS = {"two workers (`-n 2`)": "xdist", "two Ray actors": "ray"}

SPINS_AS_BUILT = "300000"
"""GNU OpenMP's own number of turns, where nothing is set."""

RUNTIMES = {"libgomp": "GNU", "libiomp": "Intel", "libomp": "LLVM", "vcomp": "Microsoft"}

PRODUCTS = """
import json, sys, time
from pytest_editpitfalls.engine import threads
import torch
threads.use(int(sys.argv[1]))
a, b = torch.randn(48, 576), torch.randn(576, 1536)
for _ in range(10):
    a @ b
started, count = time.perf_counter(), 0
while time.perf_counter() - started < float(sys.argv[2]):
    a @ b
    count += 1
print(json.dumps(count / (time.perf_counter() - started)))
"""


@contextmanager
def beside(count: int) -> Iterator[None]:
    """So many processes spin while the context is open."""
    spinning = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.2 * bool(count))
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def openmp_runtimes() -> list[str]:
    """Names of the OpenMP runtimes that this process has loaded with torch."""
    torch.mm(torch.ones(2, 2), torch.ones(2, 2))
    try:
        files = {Path(each.path).name for each in psutil.Process().memory_maps()}
    except (AttributeError, psutil.Error):  # not on every system
        return []
    return sorted({f"{name} ({file})" for file in files for part, name in RUNTIMES.items() if file.startswith(part)})


def fair(cores: int, busy: int) -> float:
    """How many times longer a run with ``cores`` threads takes when it gets its share of the cores."""
    return (cores + busy) / cores


def runs(folder: Folder, model: str, cases: int, busy: Sequence[int], ways: Sequence[str]) -> dict[str, Any]:
    """Seconds of whole runs, by way and number of busy processes."""
    options = ["-p", "pytest_editpitfalls.plugin", "--pitfalls-editor=rome", f"--pitfalls-model={model}", "--tb=no"]
    options += ["--pitfalls-suite=reverse", f"--pitfalls-limit={cases}", "--pitfalls-fresh", "--pitfalls-device=cpu"]
    options += ["--pitfalls-set=rome.v_num_grad_steps=5"]
    folder.pytest(*options, passes=False)  # what is kept between runs is there now
    found: dict[str, dict[str, float]] = {way: {} for way in ways}
    for count in busy:
        for way in ways:
            with beside(count):
                found[way][str(count)] = folder.pytest(*options, *WAYS[way], passes=False).wall
    return found


def products(seconds: float, busy: Sequence[int], cores: int) -> dict[str, dict[str, float]]:
    """Products of 48 x 576 by 576 x 1536 in a second: one thread, all threads, and all threads that spin for long."""
    ways = {
        "one thread": (1, {}),
        f"{cores} threads": (cores, {}),
        f"{cores} threads that spin as built": (cores, {"GOMP_SPINCOUNT": SPINS_AS_BUILT, "KMP_BLOCKTIME": "200"}),
    }
    unset = {"GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    found: dict[str, dict[str, float]] = {}
    for way, (threads, variables) in ways.items():
        for count in busy:
            with beside(count):
                done = subprocess.run(
                    [sys.executable, "-c", PRODUCTS, str(threads), str(seconds)],
                    env={**environment, **variables},
                    capture_output=True,
                    text=True,
                    check=True,
                )
            found.setdefault(way, {})[str(count)] = float(json.loads(done.stdout))
    return found


def measure(asked: Asked) -> Measured:
    """Measure a run beside busy processes; see the module."""
    cores = usable_cores()
    ways = [way for way in WAYS if way not in NEEDS or importlib.util.find_spec(NEEDS[way]) is not None]
    with tempfile.TemporaryDirectory(prefix="editpitfalls-busy-") as path:
        folder = Folder(Path(path))
        del folder.environment["OMP_NUM_THREADS"]  # a run finds out by itself
        cases = 2 if asked.quick else 16
        figures: dict[str, Any] = {
            "cores": cores.count,
            "cores_why": cores.why,
            "openmp": openmp_runtimes(),
            "cases": cases,
            "fair_slowdown": {str(count): fair(cores.count, count) for count in BUSY},
            "run_seconds": runs(folder, asked.model, cases, BUSY, ways[:2] if asked.quick else ways),
            "products_per_second": products(0.5 if asked.quick else 2.0, BUSY, cores.count),
        }
    figures = json.loads(json.dumps(figures), parse_float=lambda text: round(float(text), 2))
    figures["over_fair"] = over_fair(figures)
    return Measured(figures, markdown(figures))


def over_fair(figures: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """How many times its fair share's time a run takes, by way and number of busy processes."""
    share = figures["fair_slowdown"]
    return {
        way: {count: round(taken / seconds["0"] / share[count], 2) for count, taken in seconds.items()}
        for way, seconds in figures["run_seconds"].items()
    }


def markdown(figures: Mapping[str, Any]) -> str:
    """The section of the page."""
    counts = [str(count) for count in BUSY]
    beside_them = [f"beside {count} busy" for count in counts]
    rows = [
        [way, *(f"{seconds[c]:.1f} s" + _times(figures["over_fair"][way][c], c) for c in counts)]
        for way, seconds in figures["run_seconds"].items()
    ]
    rates = [[way, *(f"{rate[c]:,.0f}" for c in counts)] for way, rate in figures["products_per_second"].items()]
    share = ", ".join(f"{figures['fair_slowdown'][c]:g} x beside {c}" for c in counts[1:])
    return "\n\n".join(
        [
            "## A busy machine",
            f"Whole runs of {figures['cases']} reverse cases on the embedded model (ROME, five steps), beside "
            f"processes that each keep a core busy. {figures['cores']} cores ({figures['cores_why']}); OpenMP: "
            f"{', '.join(figures['openmp']) or 'unknown'}. With its fair share of the cores a run takes {share}; in "
            f"brackets how many times that it took, at most {TARGET:g} is aimed at.",
            table(["a run", *beside_them], rows),
            "Products of 48 x 576 by 576 x 1536 in a second, as in a small pass:",
            table(["", *beside_them], rates),
        ]
    )


def _times(ratio: float, count: str) -> str:
    return "" if count == "0" else f" ({ratio:.2f})"
