"""The processor cores and GPUs of this machine, as this process may use them. No torch unless there may be a GPU."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Mapping
from pathlib import Path


def processor_count() -> int:
    """Return the number of physical cores that this process may use, at least 1."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or allowed, allowed))


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
