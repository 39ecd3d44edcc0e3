"""The Ray cluster of a run, the one that the environment names or one on this machine, and its actors."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.execution.processors import processor_count
from pytest_editpitfalls.options.config import RunConfig

from .actor import BatchActor, RunOrigin, conftests_with_editors, editors_of

CPUS_PER_ACTOR = 2
"""CPUs of each actor where there is no GPU."""

OBJECT_STORE = 2**28
"""Bytes of a local cluster's shared memory: models do not travel, and the rest is small."""

PATIENCE = 1.0
"""Seconds to wait for the progress of the actors."""


@dataclass(frozen=True)
class Layout:
    """How many actors there are, and what each of them gets."""

    actors: int
    cpus: int
    gpus: float = 0.0

    @property
    def sharing(self) -> int:
        """Actors that may share a device: those of a GPU; on CPUs all, as if they were on one machine."""
        return max(1, round(1 / self.gpus)) if self.gpus else self.actors

    def __str__(self) -> str:
        each = f"{self.gpus:g} GPU{'s' * (self.gpus > 1)}" if self.gpus else f"{self.cpus} CPU{'s' * (self.cpus > 1)}"
        return f"{self.actors} Ray actor{'s' * (self.actors > 1)} with {each}{' each' * (self.actors > 1)}"


def plan_layout(
    resources: Mapping[str, float], device: str, actors: int | None, gpus_of_a_machine: int | None = None
) -> Layout:
    """Return one actor per GPU, or without GPUs one per `CPUS_PER_ACTOR`; or as many as are asked for.

    Few actors get several GPUs each, which a model that does not fit on one is spread over (device "auto").

    Args:
        resources: what the cluster has, in Ray's words ("CPU", "GPU").
        actors: how many are asked for; None for automatic.
        gpus_of_a_machine: the fewest that a machine with GPUs has, since no actor can have more; None: there is one.

    Raises:
        UsageError: a GPU is asked for where there is none.
    """
    cpus = max(1, int(resources.get("CPU", 1)))
    gpus = 0 if device == "cpu" else int(resources.get("GPU", 0))
    if device == "cuda" and not gpus:
        raise UsageError(
            "the Ray cluster has no GPU",
            where="--pitfalls-device=cuda",
            fix="use --pitfalls-device=auto, or start Ray where there are GPUs",
        )
    if gpus:
        number = actors or gpus
        most = gpus_of_a_machine or gpus
        on_a_machine = -(-number * most // gpus)
        several = most // on_a_machine if device == "auto" else 1
        return Layout(number, 1, float(several) if several > 1 else 1 / -(-number // gpus))
    number = actors or max(1, cpus // CPUS_PER_ACTOR)
    return Layout(number, max(1, cpus // number))


def _gpus_of_a_machine(nodes: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the fewest GPUs that a machine with GPUs has; None without any.

    Args:
        nodes: as ``ray.nodes()`` describes them.
    """
    counts = [int(node.get("Resources", {}).get("GPU", 0)) for node in nodes if node.get("Alive", True)]
    return min(filter(None, counts), default=None)


class ProgressCollector:
    """The actor that the others report to."""

    def __init__(self) -> None:
        self._latest: dict[str, dict[str, Any]] = {}

    def report_progress(self, worker: str, progress: dict[str, Any] | None) -> None:
        """Take a worker's report; None: it runs nothing."""
        if progress is None:
            self._latest.pop(worker, None)
        else:
            self._latest[worker] = progress

    def progress(self) -> dict[str, dict[str, Any]]:
        """Return what each worker reported last."""
        return self._latest


@dataclass(frozen=True)
class RemoteCollector:
    """The way to a `ProgressCollector` in another process; without a handle nothing is reported."""

    handle: Any

    def report_progress(self, worker: str, progress: dict[str, Any] | None) -> None:
        """Send the report, and wait for nothing."""
        if self.handle is not None:
            self.handle.report_progress.remote(worker, progress)


class Cluster:
    """Ray, connected; see `connect`."""

    def __init__(self, run: RunConfig, with_progress: bool, is_own: bool) -> None:
        import ray

        self._run = run
        self._is_own = is_own
        self._started = 0
        self.layout = plan_layout(ray.cluster_resources(), run.device, run.actors, _gpus_of_a_machine(ray.nodes()))
        self._class = ray.remote(BatchActor)
        self._collector = ray.remote(ProgressCollector).options(num_cpus=0).remote() if with_progress else None
        editors = editors_of(run)
        paths = tuple(str(Path(path).absolute()) for path in sys.path)
        self._origin = RunOrigin(os.getcwd(), paths, conftests_with_editors() if editors else {})
        try:
            self._editors = ray.put(editors)
        except Exception as error:
            raise UsageError(
                f"it cannot be sent to Ray's actors ({_first_line(error)})",
                where=editors[0][2] if editors else "--pitfalls-engine=ray",
                fix="define it at the top of a module, without a closure over open files, locks or models",
            ) from None

    @classmethod
    def connect(cls, run: RunConfig, with_progress: bool) -> Cluster:
        """Connect to the cluster of ``RAY_ADDRESS`` or start one here; one that a conftest has started is kept.

        Raises:
            UsageError: there is none at that address, or none can be started.
        """
        import ray

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        is_own, address = not ray.is_initialized(), os.environ.get("RAY_ADDRESS")
        if is_own:
            options: dict[str, Any] = {"address": address}
            if address is None or address == "local":
                cpus = max(processor_count(), run.actors or 1)
                options = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
                options["object_store_memory"] = OBJECT_STORE
                # Ray's workers give way to other processes (ray-project/ray#24928); beside busy ones they hardly run.
                os.environ.setdefault("RAY_worker_niceness", "0")
            try:
                ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:
                raise UsageError(
                    _first_line(error),
                    where="--pitfalls-engine=ray" if address is None else f"RAY_ADDRESS={address}",
                    fix="start Ray there (ray start --head), or unset RAY_ADDRESS for a cluster on this machine",
                ) from None
        try:
            return cls(run, with_progress, is_own)
        except BaseException:
            if is_own:
                ray.shutdown()
            raise

    def start_actor(self) -> tuple[str, Any, Any]:
        """Start an actor; Ray finds a place for it when there is one.

        Returns its name, its handle, and the reference that is there when it can be given work.
        """
        self._started += 1
        name = f"ray{self._started}"
        options = {"num_cpus": self.layout.cpus, "num_gpus": self.layout.gpus, "max_restarts": 0}
        handle = self._class.options(**options).remote(
            name, self._run, RemoteCollector(self._collector), self.layout.sharing
        )
        return name, handle, handle.ready.remote(self._origin, (self._editors,))

    def progress(self) -> dict[str, dict[str, Any]]:
        """Return what the actors reported last; nothing where nobody wants to see it."""
        import ray

        latest: dict[str, dict[str, Any]] = {}
        if self._collector is not None:
            with contextlib.suppress(ray.exceptions.RayError):  # a run does not fail for its progress
                latest = ray.get(self._collector.progress.remote(), timeout=PATIENCE)
        return latest

    def forget(self, name: str) -> None:
        """An actor is gone."""
        RemoteCollector(self._collector).report_progress(name, None)

    def close(self) -> None:
        """Leave the cluster, and end it if it was started for this run."""
        import ray

        if self._collector is not None:
            with contextlib.suppress(Exception):
                ray.kill(self._collector)
        if self._is_own:
            ray.shutdown()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *lines[:1]])
