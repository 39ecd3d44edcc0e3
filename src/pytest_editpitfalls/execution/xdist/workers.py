"""What each worker gets: a GPU of its own or its share of the threads. Torch-free unless there may be a GPU."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.execution.planning import fair_size

if TYPE_CHECKING:
    from pytest_editpitfalls.options.config import RunConfig

INPUT = "pitfalls"
"""Key of xdist's ``workerinput``."""


@dataclass(frozen=True)
class WorkerSetup:
    """What the controller gives a worker.

    Attributes:
        exchange: the run's directory.
        workers: how many workers there are.
        gpu: the GPU, as ``CUDA_VISIBLE_DEVICES`` names it; None without one.
        threads: threads for torch on a CPU; None where the user has set their number.
        sharing: workers that share this one's device, this one included.
    """

    exchange: str
    workers: int
    gpu: str | None = None
    threads: int | None = None
    sharing: int = 1

    def as_input(self) -> dict[str, Any]:
        """Built-in types only: it travels over xdist's channel."""
        return asdict(self)

    @classmethod
    def of(cls, workerinput: Mapping[str, Any]) -> WorkerSetup | None:
        """What the controller put there; None in a worker of a run that is not ours."""
        given = workerinput.get(INPUT)
        return None if given is None else cls(**given)

    def batch_size(self, cases: int, run: RunConfig) -> int:
        """Cases per batch: as many as the engine takes at most, fewer where workers would wait for the last batch.

        No model is loaded here: how many of a batch fit into memory together is found by the worker that runs it.
        """
        from pytest_editpitfalls.engine.settings import chunk_size

        on_gpu = self.gpu is not None or run.device.startswith("cuda")
        return fair_size(cases, self.workers, chunk_size(run.batch_size, on_gpu))

    def take_up(self, environment: MutableMapping[str, str] | None = None) -> None:
        """Bind this process to its GPU and threads. To be called before torch starts CUDA."""
        environment = os.environ if environment is None else environment
        if self.gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpu
        if self.threads is not None:
            environment["OMP_NUM_THREADS"] = str(self.threads)
            if (torch := sys.modules.get("torch")) is not None:  # somebody's conftest was faster
                torch.set_num_threads(self.threads)


class Gpus:
    """The GPUs of a run, given out one to a worker; a worker that is replaced leaves its own to the next.

    Args:
        names: as ``CUDA_VISIBLE_DEVICES`` names them; empty without any.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._holders: dict[str, str] = {}

    def take(self, worker: str) -> str | None:
        """The GPU that the fewest workers hold; None without any."""
        if not self.names:
            return None
        held = Counter(self._holders.values())
        self._holders[worker] = min(self.names, key=lambda name: held[name])
        return self._holders[worker]

    def sharing(self, workers: int) -> int:
        """How many of so many workers share a device, at most; without GPUs all share the CPU's memory."""
        return -(-workers // max(1, len(self.names)))

    def give_back(self, worker: str) -> None:
        """The worker is gone."""
        self._holders.pop(worker, None)


def visible_gpus(device: str, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The GPUs that workers may be given, as the caller's own ``CUDA_VISIBLE_DEVICES`` names them.

    Args:
        device: the run's device; with "cpu" or one named GPU there is nothing to give out.
        environment: default: this process's.
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


def processor_count() -> int:
    """Physical cores that this process may use, at least 1."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or allowed, allowed))


def automatic_workers(device: str) -> int:
    """Workers of ``-n auto``: one a GPU, else half as many as there are physical cores."""
    return len(visible_gpus(device)) or max(1, processor_count() // 2)


def shared_threads(workers: int, environment: Mapping[str, str] | None = None) -> int | None:
    """Threads of each of ``workers`` on a CPU; None where the user has set ``OMP_NUM_THREADS``."""
    environment = os.environ if environment is None else environment
    return None if environment.get("OMP_NUM_THREADS") else max(1, processor_count() // workers)


def _listed(given: str) -> tuple[str, ...]:
    """The devices of a ``CUDA_VISIBLE_DEVICES``; CUDA stops reading at the first -1."""
    names: list[str] = []
    for part in given.split(","):
        if not part.strip() or part.strip().startswith("-"):
            break
        names.append(part.strip())
    return tuple(names)


def _gpu_count() -> int:
    if (
        sys.platform == "linux"
        and not any(Path("/dev").glob("nvidia[0-9]*"))
        and not Path("/dev/kfd").exists()
    ):
        return 0  # the usual case on a laptop, found out without two seconds of import
    from pytest_editpitfalls.engine.models.placement import gpu_count

    return gpu_count()
