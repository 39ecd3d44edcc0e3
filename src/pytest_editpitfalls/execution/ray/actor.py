"""A process of the Ray executor: a local executor that is called from elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_editpitfalls.execution.executor import Answers, Job
from pytest_editpitfalls.execution.local import LocalExecutor
from pytest_editpitfalls.execution.planning import Batch
from pytest_editpitfalls.execution.worker_progress import ProgressSink, WorkerProgress
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.program import Program, SuitePrograms

from .carried_editors import load_module, register_editors


@dataclass(frozen=True)
class RunOrigin:
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


class ActorProgress(WorkerProgress):
    """Keeps the engine's remarks for the next reply."""

    def __init__(self, sink: ProgressSink, worker: str) -> None:
        super().__init__(sink, worker)
        self.remarks: list[str] = []

    def announce(self, text: str) -> None:
        """Keep the remark."""
        self.remarks.append(text)


class BatchActor:
    """Holds one model and runs batches.

    Args:
        name: what the progress line calls it.
        run: what the user asked for.
        sink: where it reports how far it is.
        sharing: actors that may share its device, this one included.
    """

    def __init__(self, name: str, run: RunConfig, sink: ProgressSink, sharing: int = 1) -> None:
        self._progress = ActorProgress(sink, name)
        self._executor = LocalExecutor(run, self._progress, sharing)

    def ready(self, origin: RunOrigin, editors: tuple[Any, ...]) -> None:
        """Import what the run brings.

        Args:
            origin: where the run was started.
            editors: the reference of a list of `CarriedEditor`; within a tuple, so that it is fetched here, when what
                it names can be imported.
        """
        import ray

        with contextlib.suppress(OSError):  # another machine may not have it
            os.chdir(origin.folder)
        sys.path.extend(path for path in origin.paths if path not in sys.path)
        for name, file in origin.modules.items():
            load_module(name, file)
        register_editors(ray.get(editors[0]))

    def describe(self, editor: str, model: str) -> Reply:
        """Open the model and look at the editor."""
        return self._reply(editor, model)

    def run(self, editor: str, model: str, batch: Batch, programs: tuple[Program, ...], suite: SuitePrograms) -> Reply:
        """Run one batch; see `LocalExecutor.run_job`."""
        job = Job(editor, model, batch, programs, suite)
        self._progress.start(batch, 0, len(batch))
        try:
            answers = {case: scores for part in self._executor.run_job(job) for case, scores in part.items()}
        finally:
            self._progress.stop()
        return self._reply(editor, model, answers)

    def _reply(self, editor: str, model: str, answers: Answers | None = None) -> Reply:
        description = self._executor.describe(editor, model)
        size = self._executor.batch_size(editor, model, 0)
        remarks, self._progress.remarks = tuple(self._progress.remarks), []
        return Reply(editor, model, description, size, answers or {}, remarks, self._executor.take_seconds())
