"""The steps of part ``gpu``, in the order in which they run, and how the time is divided over them."""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .recorder import Emit, Figures, OutOfTime, Recorder, one_line, time_limit
from .sizes import SIZES

LEAST_SECONDS = 2.0
"""A step does not begin with less."""


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: in the figures.
        title: in words.
        weight: its share of the time that is left when it begins, beside those of the steps behind it.
        work: ``"module:function"`` of this package; called with a recorder, the sizes and `arguments`.
        arguments: keyword arguments.
    """

    name: str
    title: str
    weight: float
    work: str
    arguments: Mapping[str, Any]

    def run(self, recorder: Recorder, sizes: str) -> None:
        module, _, function = self.work.partition(":")
        getattr(importlib.import_module(module, __package__), function)(recorder, SIZES[sizes], **self.arguments)


def steps(sizes: str) -> tuple[Step, ...]:
    """The steps at one of `SIZES`."""
    small, *large = SIZES[sizes].shapes
    found = [
        Step("agreement", "the CPU and the device agree", 50, ".between_devices:measure", {}),
        Step("tests", "the tests marked gpu", 70, ".marked_tests:measure", {}),
    ]
    found += [
        Step(
            f"{shape.name} {editor}",
            f"{editor} on a random model of the shape of {shape.name}",
            weight,
            ".shapes:measure",
            {"shape": shape, "editor": editor},
        )
        for shape, weight in ((small, 100), *((each, 40) for each in large))
        for editor in ("rome", "memit")
    ]
    return tuple(found)


def limit(left: float, step: Step, behind: Sequence[Step]) -> float:
    """Seconds of a step when so many are left for it and those behind it."""
    return left * step.weight / sum(each.weight for each in (step, *behind))


def run(
    wanted: Sequence[Step],
    *,
    sizes: str,
    device: str,
    seconds: float,
    emit: Emit,
    known: Mapping[str, Mapping[str, Figures]] = {},
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run steps one after another. What one of them raises, or does not get done in its time, is lost for no other.

    Args:
        wanted: the steps.
        sizes: a key of `SIZES`.
        device: "cpu" or "cuda".
        seconds: for all of them together.
        emit: told what happens: ``{"step", "limit"}`` when one begins, ``{"step", "unit"}``, ``{"step", "unit",
            "figures"}``, and ``{"step", "state"}`` when it ends: "done", "cut short", "failed: ...", "not begun".
        known: units that are measured already, by step.

    Raises:
        DeviceLost: CUDA refuses to go on in this process.
    """
    end = clock() + seconds
    for place, step in enumerate(wanted):
        left = end - clock()
        if left < LEAST_SECONDS:
            emit({"step": step.name, "state": "not begun"})
            continue
        share = limit(left, step, wanted[place + 1 :])
        emit({"step": step.name, "limit": round(share, 1)})
        started = clock()
        state = "done"
        try:
            with time_limit(share):
                recorder = Recorder(step.name, device, known.get(step.name, {}), emit, time.monotonic() + share)
                step.run(recorder, sizes)
        except OutOfTime:
            state = "cut short"
        except Exception as error:
            traceback.print_exc()
            state = f"failed: {one_line(error)}"
        emit({"step": step.name, "state": state, "seconds": round(clock() - started, 1)})
