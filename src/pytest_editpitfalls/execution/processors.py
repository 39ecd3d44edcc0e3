"""The processor cores and GPUs of this machine, as this process may use them. No torch unless there may be a GPU."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pytest_editpitfalls.cores import threads_given, usable_cores


def processor_count() -> int:
    """Return the number of physical cores that this process may use, at least 1."""
    return usable_cores().count


def threads_in_words(workers: int = 1, environment: Mapping[str, str] | None = None) -> str:
    """Return how many threads each of ``workers`` computes with on a CPU, and why so many.

    What a process that has imported torch already says of itself counts: somebody may have set it there.
    """
    environment = os.environ if environment is None else environment
    each = f" in each of {workers} workers" if workers > 1 else ""
    if (given := threads_given(environment)) is not None:
        return f"{_threads(given[1])}{each}, as {given[0]} says"
    cores = usable_cores()
    if workers > 1:
        return f"{_threads(max(1, cores.count // workers))}{each}, which share {cores.count}: {cores.why}"
    if (torch := sys.modules.get("torch")) is not None and torch.get_num_threads() < cores.count:
        return f"{_threads(torch.get_num_threads())}, as torch was set in this process"
    return f"{_threads(cores.count)}: {cores.why}"


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count != 1)}"


def visible_gpus(device: str, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the GPUs that workers may be given, as the caller's own ``CUDA_VISIBLE_DEVICES`` names them.

    With the device "cpu" or one named GPU there is nothing to give out.
    """
    environment = os.environ if environment is None else environment
    if device not in {"auto", "cuda"}:
        return ()
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is not None and not _listed(given):
        return ()
    count = _gpu_count()
    names = tuple(str(number) for number in range(count)) if given is None else _listed(given)
    return names[:count]


def _listed(given: str) -> tuple[str, ...]:
    """Return the devices of a ``CUDA_VISIBLE_DEVICES``; CUDA stops reading at the first -1."""
    parts = (part.strip() for part in given.split(","))
    return tuple(itertools.takewhile(lambda part: part and not part.startswith("-"), parts))


def _gpu_count() -> int:
    if sys.platform == "linux" and not any(Path("/dev").glob("nvidia[0-9]*")) and not Path("/dev/kfd").exists():
        return 0  # the usual case on a laptop, found out without two seconds of import
    from pytest_editpitfalls.engine.models.placement import gpu_count

    return gpu_count()
