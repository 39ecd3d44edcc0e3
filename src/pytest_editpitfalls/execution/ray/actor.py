"""A process of the Ray engine: a local engine that is called from elsewhere. Knows nothing of Ray but how to fetch."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.execution.executor import Answers, Job
from pytest_editpitfalls.execution.local import LocalEngine
from pytest_editpitfalls.execution.own_editors import load_module, take_over
from pytest_editpitfalls.execution.xdist.progress import Told, WorkerWatcher
from pytest_editpitfalls.options.config import RunConfig

if TYPE_CHECKING:
    from pytest_editpitfalls.execution.planning import Batch
    from pytest_editpitfalls.program import Program, SuitePrograms


@dataclass(frozen=True)
class Home:
    """Where the run was started, for processes that import what it brings.

    Attributes:
        folder: its working directory.
        paths: its ``sys.path``.
        modules: modules that have to be loaded from their files: name -> file.
    """

    folder: str
    paths: tuple[str, ...]
    modules: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """What an actor answers.

    Attributes:
        editor: the editor that it is about.
        model: label of the model.
        description: of the editor and the model, as it is now.
        size: cases that the model takes at once with the editor.
        answers: the batch's scores.
        remarks: what the engine remarked.
        seconds: spent outside of batches since the last reply.
    """

    editor: str
    model: str
    description: dict[str, Any]
    size: int
    answers: Answers = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


class ActorWatcher(WorkerWatcher):
    """Keeps the engine's remarks for the next reply."""

    def __init__(self, board: Told, worker: str) -> None:
        super().__init__(board, worker)
        self.remarks: list[str] = []

    def announce(self, text: str) -> None:
        """Keep it."""
        self.remarks.append(text)


class Board:
    """The actor that the others tell how far they are."""

    def __init__(self) -> None:
        self._told: dict[str, dict[str, Any]] = {}

    def tell(self, worker: str, progress: dict[str, Any] | None) -> None:
        """Take what a worker tells; None: it runs nothing."""
        if progress is None:
            self._told.pop(worker, None)
        else:
            self._told[worker] = progress

    def told(self) -> dict[str, dict[str, Any]]:
        """What each worker told last."""
        return self._told


@dataclass(frozen=True)
class RemoteBoard:
    """The way to a `Board`; without one nothing is told."""

    handle: Any

    def tell(self, worker: str, progress: dict[str, Any] | None) -> None:
        """Tell, and wait for nothing."""
        if self.handle is not None:
            self.handle.tell.remote(worker, progress)


class BatchActor:
    """Holds one model and runs batches.

    Args:
        name: what the progress line calls it.
        run: what the user asked for.
        board: where it tells how far it is.
        sharing: actors that may share its device, this one included.
    """

    def __init__(self, name: str, run: RunConfig, board: RemoteBoard, sharing: int = 1) -> None:
        self._watcher = ActorWatcher(board, name)
        self._engine = LocalEngine(run, self._watcher, sharing)

    def ready(self, home: Home, editors: tuple[Any, ...]) -> None:
        """Import what the run brings.

        Args:
            home: where the run is.
            editors: the reference of a list of `OwnEditor`; within a tuple, so that it is fetched here, when what it
                names can be imported.
        """
        import ray

        with contextlib.suppress(OSError):  # another machine may not have it
            os.chdir(home.folder)
        sys.path.extend(path for path in home.paths if path not in sys.path)
        for name, file in home.modules.items():
            load_module(name, file)
        take_over(ray.get(editors[0]))

    def describe(self, editor: str, model: str) -> Reply:
        """Open the model and look at the editor."""
        return self._reply(editor, model)

    def run(
        self, editor: str, model: str, batch: Batch, programs: tuple[Program, ...], suite: SuitePrograms
    ) -> Reply:
        """Run one batch; see `LocalEngine.run_job`."""
        job = Job(editor, model, batch, programs, suite)
        self._watcher.start(batch, 0, len(batch))
        try:
            answers = {slot: scores for part in self._engine.run_job(job) for slot, scores in part.items()}
        finally:
            self._watcher.stop()
        return self._reply(editor, model, answers)

    def _reply(self, editor: str, model: str, answers: Answers | None = None) -> Reply:
        description = self._engine.describe(editor, model)
        size = self._engine.batch_size(editor, model, 0)
        remarks, self._watcher.remarks = tuple(self._watcher.remarks), []
        return Reply(editor, model, description, size, answers or {}, remarks, self._engine.take_seconds())
