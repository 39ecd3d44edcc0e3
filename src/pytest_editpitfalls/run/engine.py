"""The engine of this process: one model at a time, opened when the first batch needs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from pytest_editpitfalls.collection.parametrize import CaseParam
from pytest_editpitfalls.errors import PitfallsError, UsageError
from pytest_editpitfalls.options.config import RunConfig

if TYPE_CHECKING:
    from pytest_editpitfalls.cases.program import CaseScores, Program, SuitePrograms
    from pytest_editpitfalls.engine.session import EngineSession
    from pytest_editpitfalls.engine.settings import Progress
    from pytest_editpitfalls.scheduling.planning import Batch


class Watcher(Protocol):
    """Shows what goes on: remarks of the engine, and a line of progress while a batch runs."""

    def announce(self, text: str) -> None:
        """Show a remark of the engine ("model needs 0.6 GB")."""

    def start(self, batch: Batch, done: int, total: int) -> None:
        """A batch begins; ``done`` of ``total`` selected cases are finished."""

    def progress(self, progress: Progress) -> None:
        """The batch has come further."""

    def stop(self) -> None:
        """The batch has ended."""


class LocalEngine:
    """Batches in, scores out, in this process.

    Args:
        run: what the user asked for.
        watcher: who is told about progress.
    """

    def __init__(self, run: RunConfig, watcher: Watcher) -> None:
        self._run = run
        self._watcher = watcher
        self._opened: tuple[str, EngineSession] | None = None
        self._refused: dict[str, PitfallsError] = {}
        self._told: set[tuple[str, str]] = set()

    def is_open(self, label: str) -> bool:
        """Whether this model is the one that is held now."""
        return self._opened is not None and self._opened[0] == label

    def session(self, label: str) -> EngineSession:
        """Return the engine session of a model, opening it when it is not the one that is open.

        One model is held at a time: items run sorted by model.

        Raises:
            UsageError: the model cannot be opened; said again for every further case.
        """
        if self._opened is not None and self._opened[0] == label:
            return self._opened[1]
        if label in self._refused:
            raise self._refused[label]
        from pytest_editpitfalls.engine.session import EngineSession

        self._opened = None  # lets the memory go before the next model comes
        settings = self._run.engine_settings(self._run.model_of(label))
        try:
            session = EngineSession.open(settings, announce=self._watcher.announce)
        except PitfallsError as error:
            self._refused[label] = error
            raise
        self._opened = (label, session)
        return session

    def batch_size(self, param: CaseParam) -> int:
        """Cases that the engine takes at once for this editor and model."""
        return max(1, self.session(param.model).batch_size(param.engine_editor))

    def run(self, param: CaseParam, programs: Sequence[Program], suite: SuitePrograms) -> list[CaseScores]:
        """Run the programs of one batch with the editor and model of ``param``.

        Raises:
            UsageError: the model or the editor cannot be used at all.
        """
        session = self.session(param.model)
        return session.run(param.engine_editor, programs, progress=self._watcher.progress, suite=suite)

    def describe(self, param: CaseParam) -> dict[str, Any]:
        """Return the engine's description of the editor and model of ``param``, of plain JSON types."""
        return dict(self.session(param.model).describe(param.engine_editor))

    @contextmanager
    def edited(self, param: CaseParam, state: str, suite: SuitePrograms) -> Iterator[Any]:
        """Give the Hugging Face model, answering as the edited one of ``state`` inside the context."""
        program = param.program()
        states = [known.name for known in program.states]
        if state not in states:
            raise UsageError(
                f"case {param.case.id} has no state '{state}'", fix=f"its states are {', '.join(states)}"
            )
        with self.session(param.model).edited(param.engine_editor, program, state, suite) as model:
            yield model

    def take_seconds(self) -> dict[str, float]:
        """Return the seconds spent outside of batches since the last call ("load", "prepare rome")."""
        if self._opened is None:
            return {}
        label, session = self._opened
        fresh: dict[str, float] = {}
        for stage, seconds in session.seconds.items():
            if (label, stage) not in self._told:
                self._told.add((label, stage))
                fresh[stage] = float(seconds)
        return fresh
