"""A process of the Ray executor: a local executor that is called from elsewhere."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.walls import Key, KnownWalls
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.execution.executor import Answers, Job, ProgressSink, WorkerProgress
from pytest_editpitfalls.execution.local import LocalExecutor
from pytest_editpitfalls.execution.planning import Batch
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.options.editor_labels import editor_name
from pytest_editpitfalls.program import Program, SuitePrograms

CarriedEditor = tuple[str, Any, str]
"""Name, function, class or declaration, and origin of an editor that does not come with this package."""


@dataclass(frozen=True)
class RunOrigin:
    """Where the run was started, its ``sys.path``, and modules to load from their files: name -> file."""

    folder: str
    paths: tuple[str, ...]
    modules: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """What an actor answers.

    Attributes:
        seed: what the editor draws under; None: the run's own.
        description: of the editor and the model, as it is now.
        size: cases that the model takes at once with the editor.
        walls: batches that did not fit, here or where the caller knows of it.
        seconds: spent outside of batches since the last reply.
    """

    editor: str
    model: str
    seed: int | None
    description: dict[str, Any]
    size: int
    answers: Answers = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    walls: Mapping[Key, int] = field(default_factory=dict)


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
        sharing: actors that may share its device, this one included.
    """

    def __init__(self, name: str, run: RunConfig, sink: ProgressSink, sharing: int = 1) -> None:
        self._run = run
        self._progress = ActorProgress(sink, name)
        self._walls = KnownWalls()
        self._executor = LocalExecutor(run, self._progress, sharing, self._walls)

    def ready(self, origin: RunOrigin, editors: tuple[Any, ...]) -> None:
        """Import what the run brings.

        Args:
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
        for label, checkpoint in self._run.checkpoints.items():
            EDITORS.add_checkpoint(label, checkpoint)

    def describe(self, editor: str, model: str, seed: int | None) -> Reply:
        """Open the model and look at the editor."""
        return self._reply(editor, model, seed)

    def run(
        self,
        editor: str,
        model: str,
        batch: Batch,
        programs: tuple[Program, ...],
        suite: SuitePrograms,
        seed: int | None,
        walls: Mapping[Key, int],
    ) -> Reply:
        """Run one batch, with what is known of batches that did not fit elsewhere; see `LocalExecutor.run_job`."""
        for key, cases in walls.items():
            self._walls.tell(key, cases)
        job = Job(editor, model, batch, programs, (suite,) * len(programs), seed)
        self._progress.start(batch, 0, len(batch))
        try:
            answers = {case: scores for part in self._executor.run_job(job) for case, scores in part.items()}
        finally:
            self._progress.stop()
        return self._reply(editor, model, seed, answers)

    def _reply(self, editor: str, model: str, seed: int | None, answers: Answers | None = None) -> Reply:
        description = self._executor.describe(editor, model, seed)
        size = self._executor.batch_size(editor, model, 0)
        remarks, self._progress.remarks = tuple(self._progress.remarks), []
        seconds, walls = self._executor.take_seconds(), dict(self._walls.known)
        return Reply(editor, model, seed, description, size, answers or {}, remarks, seconds, walls)


def editors_of(run: RunConfig) -> list[CarriedEditor]:
    """Return the editors of the run that do not come with this package."""
    names = dict.fromkeys(editor_name(label) for label in run.editors)
    values = {name: EDITORS.own_object(name) for name in names}
    return [(name, value, EDITORS.origin(name)) for name, value in values.items() if value is not None]


def conftests_with_editors() -> dict[str, str]:
    """Return module name and file of every conftest that brings editors: no other process can import it by name."""
    files = {
        name: getattr(module, "__file__", None)
        for name, module in [*sys.modules.items()]
        if hasattr(module, "pytest_pitfalls_editors")
    }
    return {name: file for name, file in files.items() if file and Path(file).name == "conftest.py"}


def load_module(name: str, file: str) -> None:
    """Load a module from its file, under its name; raises whatever it raises."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError("it cannot be loaded", where=file)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def register_editors(editors: Iterable[CarriedEditor]) -> None:
    """Make the editors of another process known in this one."""
    EDITORS.forget_added()
    for name, value, origin in editors:
        EDITORS.add(name, value, origin=origin)
