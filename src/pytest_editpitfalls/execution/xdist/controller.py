"""The controller's side of a run with pytest-xdist: who works where, with which GPU or share of the threads."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_editpitfalls.cores import threads_given
from pytest_editpitfalls.engine.settings import chunk_size
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.execution.planning import fair_size
from pytest_editpitfalls.execution.processors import processor_count, visible_gpus
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.options.editor_labels import editor_name

from .run_directory import CASE_KEY, ItemFacts, RunDirectory

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

    from .scheduler import BatchScheduling

INPUT = "pitfalls"
"""Key of xdist's ``workerinput``."""

MODES = ("no", "load")
"""Modes of ``--dist`` that keep a batch in one worker."""


def check_distribution(config: pytest.Config) -> None:
    """Raise `UsageError` for a way to distribute that would tear batches apart."""
    mode = config.getoption("dist", "no")
    if mode not in MODES:
        raise UsageError(
            f"'{mode}' sends single tests, and cases are edited and scored in batches",
            where="--dist",
            fix="use --dist=load, or -n alone: whole batches are sent to the workers",
        )
    elsewhere = [spec for spec in config.getoption("tx", None) or () if "popen" not in spec]
    if mode != "no" and elsewhere:
        raise UsageError(
            "workers on other machines cannot see this run's directory",
            where=f"--tx={elsewhere[0]}",
            fix="use -n on each machine, with --pitfalls-shard=1/2, 2/2, and replay the merged store",
        )


@dataclass(frozen=True)
class WorkerSetup:
    """What the controller gives a worker.

    Attributes:
        gpu: the GPU, or several with commas between, as ``CUDA_VISIBLE_DEVICES`` names them; None without one.
        threads: threads for torch on a CPU; None where the user has set their number.
        sharing: workers that share this one's device, this one included.
    """

    directory: str
    workers: int
    gpu: str | None = None
    threads: int | None = None
    sharing: int = 1

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
    """The GPUs of a run, one for each worker; a worker that is replaced leaves its own to the next.

    Attributes:
        names: what each worker may be given.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._holders: dict[str, str] = {}

    @classmethod
    def shared_out(cls, names: tuple[str, ...], workers: int, device: str) -> Gpus:
        """Several for each worker where there are enough, as many for each, so that large models can be spread.

        Args:
            names: the GPUs.
            workers: how many share them.
            device: as typed; only "auto" spreads a model.
        """
        each = max(1, len(names) // max(1, workers)) if device == "auto" else 1
        return cls(tuple(",".join(names[place * each :][:each]) for place in range(len(names) // each)))

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
    """Return the threads of each of ``workers`` on a CPU; None where the user has set their number."""
    environment = os.environ if environment is None else environment
    return None if threads_given(environment) is not None else max(1, processor_count() // workers)


class Controller:
    """Registered as a plugin in xdist's controller.

    Raises:
        UsageError: the workers cannot fit into the memory.
    """

    def __init__(self, config: pytest.Config, run: RunConfig) -> None:
        self._workers = len(config.getoption("tx") or ())
        self._gpus = Gpus.shared_out(visible_gpus(run.device), self._workers, run.device)
        self._memory = [] if run.replay else _memory(run, self._workers, on_gpu=bool(self._gpus.names))
        self._scheduler: BatchScheduling | None = None
        self.directory = RunDirectory(Path(tempfile.mkdtemp(prefix="editpitfalls-")))

    def case_count(self) -> int:
        """Return the number of the run's cases; 0 before the workers have planned."""
        planned = self._scheduler.planned if self._scheduler is not None else ()
        return len({tuple(facts[name] for name in CASE_KEY) for facts in planned if facts is not None})

    def count_stored(self) -> tuple[int, int]:
        """Return how many cases the workers found in the store or wrote there, and how many the run has."""
        return self.directory.stored_count(), self.case_count()

    def facts_of(self, nodeid: str) -> ItemFacts | None:
        """Return what the plan says of an item; None for one without a case."""
        collection = None if self._scheduler is None else self._scheduler.collection
        if self._scheduler is None or collection is None:
            return None
        return self._scheduler.planned[collection.index(nodeid)]

    def pytest_report_header(self) -> list[str]:
        """Say how much memory the workers will take."""
        return [f"pitfalls: {line}" for line in self._memory]

    def pytest_configure_node(self, node: WorkerController) -> None:
        """Give a worker, also one that takes a dead one's place, its GPU or its threads."""
        gpu = self._gpus.take(node.gateway.id)
        threads = shared_threads(self._workers) if gpu is None else None
        sharing = self._gpus.sharing(self._workers)
        setup = WorkerSetup(str(self.directory.folder), self._workers, gpu, threads, sharing)
        node.workerinput[INPUT] = asdict(setup)  # built-in types: they travel over xdist's channel

    def pytest_testnodedown(self, node: WorkerController, error: object | None) -> None:
        """Take the GPU back."""
        self._gpus.give_back(node.gateway.id)
        self.directory.report_progress(node.gateway.id, None)

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Producer) -> BatchScheduling:
        """Send whole batches."""
        from .scheduler import BatchScheduling  # pytest-xdist is an optional dependency

        self._scheduler = BatchScheduling(config, log, self.directory)
        return self._scheduler

    def pytest_unconfigure(self) -> None:
        """Remove the run's directory, when the last worker is gone."""
        shutil.rmtree(self.directory.folder, ignore_errors=True)


def _memory(run: RunConfig, workers: int, on_gpu: bool) -> list[str]:
    """Return what the workers take for each model, in words; raises `UsageError` where they cannot fit."""
    from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
    from pytest_editpitfalls.engine.models.worker_memory import workers_estimate

    in_place = any(EDITORS.get(editor_name(label)).form == "in place" for label in run.editors)
    lines = []
    for model in run.models:
        device = "cpu" if run.device == "auto" and not on_gpu else run.device
        estimate = workers_estimate(model, run.dtype, device, workers, in_place=in_place)
        if estimate is not None:
            estimate.check()
            lines.append(f"{model}: {estimate}")
    return lines
