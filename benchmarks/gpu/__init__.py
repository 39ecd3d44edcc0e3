"""Part ``gpu``: everything about a GPU in one command of a few minutes, the most telling first.

Without one (``--device cpu``) the same path runs on tiny shapes: a rehearsal, whose figures say nothing about a GPU.
"""

from __future__ import annotations

import time
from typing import Any

import psutil

from benchmarks import machine
from benchmarks.part import Asked, Measured

from . import steps
from .render import render
from .sizes import sizes_of
from .supervisor import Supervisor
from .targets import targets

BUDGET = 400.0
"""Seconds, where none are asked for."""

STARTING = 60.0
"""Seconds that starting up may take; a process that is older has run other parts before."""


def measure(asked: Asked) -> Measured:
    """Run all steps; what is found is handed to `Asked.keep` as it comes."""
    sizes = sizes_of(asked.device, asked.quick)
    figures: dict[str, Any] = {
        "device": asked.device,
        "rehearsal": asked.device == "cpu",
        "sizes": sizes,
        "budget_seconds": asked.budget or BUDGET,  # from the start of the process on
        "matrix_gflop_per_second": machine.matrix_rates(asked.device),
    }
    machine.free(asked.device)  # the process that measures needs the memory

    def so_far() -> Measured:
        figures["targets"] = targets(figures)
        return Measured(figures, render(figures), ratios(figures))

    every = [(each.name, each.title) for each in steps.steps(sizes)]
    age = time.time() - psutil.Process().create_time()
    left = figures["budget_seconds"] - (age if age < STARTING else 0)
    supervisor = Supervisor(sizes, asked.device, every, left, lambda: asked.keep(so_far()))
    figures["steps"] = supervisor.found
    supervisor.run()
    return so_far()


def ratios(figures: dict[str, Any]) -> dict[str, float]:
    """Today's time over ours in the same precision: "gpt2-xl.rome.tf32" and so on. None of a rehearsal."""
    found: dict[str, float] = {}
    if figures["rehearsal"]:
        return found
    for name, own in figures["steps"].items():
        units = own["units"]
        for unit in units:
            precision, _, what = unit.partition(" ")
            ours = units.get(f"{precision} automatic", {}).get("seconds_per_case")
            if what == "reference" and ours and units[unit].get("seconds_per_case"):
                key = f"{name.replace(' ', '.')}.{precision}"
                found[key] = round(units[unit]["seconds_per_case"] / ours, 2)
    return found
