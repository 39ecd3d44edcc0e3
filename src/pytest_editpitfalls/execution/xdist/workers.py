"""What each worker gets: a GPU of its own or its share of the threads."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass
from typing import Any

from pytest_editpitfalls.engine.settings import chunk_size
from pytest_editpitfalls.execution.planning import fair_size
from pytest_editpitfalls.execution.processors import processor_count, visible_gpus
from pytest_editpitfalls.options.config import RunConfig

INPUT = "pitfalls"
"""Key of xdist's ``workerinput``."""


@dataclass(frozen=True)
class WorkerSetup:
    """What the controller gives a worker.

    Attributes:
        gpu: the GPU, as ``CUDA_VISIBLE_DEVICES`` names it; None without one.
        threads: threads for torch on a CPU; None where the user has set their number.
        sharing: workers that share this one's device, this one included.
    """

    directory: str
    workers: int
    gpu: str | None = None
    threads: int | None = None
    sharing: int = 1

    def as_input(self) -> dict[str, Any]:
        """Return it as built-in types: it travels over xdist's channel."""
        return asdict(self)

    @classmethod
    def of(cls, workerinput: Mapping[str, Any]) -> WorkerSetup | None:
        """Return what the controller put there; None where nothing was put, as in a process that is no worker."""
        given = workerinput.get(INPUT)
        return None if given is None else cls(**given)

    def batch_size(self, cases: int, run: RunConfig) -> int:
        """Return the cases per batch: the most that the engine takes, fewer where workers would wait for the last one.

        No model is loaded here: how many of a batch fit into memory together is found by the worker that runs it.
        """
        on_gpu = self.gpu is not None or run.device.startswith("cuda")
        return fair_size(cases, self.workers, chunk_size(run.batch_size, on_gpu))

    def apply(self, environment: MutableMapping[str, str] | None = None) -> None:
        """Bind this process to its GPU and threads. To be called before torch starts CUDA."""
        environment = os.environ if environment is None else environment
        if self.gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpu
        if self.threads is not None:
            environment["OMP_NUM_THREADS"] = str(self.threads)
            if (torch := sys.modules.get("torch")) is not None:  # somebody's conftest was faster
                torch.set_num_threads(self.threads)


class Gpus:
    """The GPUs of a run, one for each worker; a worker that is replaced leaves its own to the next."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._holders: dict[str, str] = {}

    def take(self, worker: str) -> str | None:
        """Return the GPU that the fewest workers hold; None without any."""
        if not self.names:
            return None
        held = Counter(self._holders.values())
        self._holders[worker] = min(self.names, key=lambda name: held[name])
        return self._holders[worker]

    def sharing(self, workers: int) -> int:
        """Return how many of ``workers`` share one device at most; without GPUs all share the CPU's memory."""
        return -(-workers // max(1, len(self.names)))

    def give_back(self, worker: str) -> None:
        """The worker is gone."""
        self._holders.pop(worker, None)


def automatic_workers(device: str) -> int:
    """Return the workers of ``-n auto``: one per GPU, or half as many as there are physical cores."""
    return len(visible_gpus(device)) or max(1, processor_count() // 2)


def shared_threads(workers: int, environment: Mapping[str, str] | None = None) -> int | None:
    """Return the threads of each of ``workers`` on a CPU; None where the user has set ``OMP_NUM_THREADS``."""
    environment = os.environ if environment is None else environment
    return None if environment.get("OMP_NUM_THREADS") else max(1, processor_count() // workers)
