"""What a run says of the threads it computes with."""

from __future__ import annotations

import pytest

from pytest_editpitfalls.cores import usable_cores
from pytest_editpitfalls.execution.processors import threads_in_words, visible_gpus
from pytest_editpitfalls.openmp import TOO_LATE
from pytest_editpitfalls.options.command_line import THREADS_SLEEP
from pytest_editpitfalls.options.config import RunConfig


def threads_line(config: pytest.Config, run: RunConfig) -> str | None:
    """Return how many threads each process of the run has, and why; None where none computes on this machine's CPU.

    With Ray the cluster says what its actors get.
    """
    if not _computes_here(run) or run.engine == "ray":
        return None
    return threads_in_words(_workers(config))


def too_late(config: pytest.Config, run: RunConfig) -> str | None:
    """Return what there is to know where torch was imported too early; workers inherit what it did not read."""
    in_time = config.stash.get(THREADS_SLEEP, True)
    alone = not _workers(config) and run.engine != "ray"
    return None if in_time or not (alone and _computes_here(run)) or usable_cores().count == 1 else TOO_LATE


def _computes_here(run: RunConfig) -> bool:
    return not run.replay and not run.device.startswith("cuda") and not visible_gpus(run.device)


def _workers(config: pytest.Config) -> int:
    return len(config.getoption("tx", None) or ()) if config.getoption("dist", "no") != "no" else 0
