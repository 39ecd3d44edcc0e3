"""Runs batches: opens the engine, asks it for a whole batch when the first of its cases is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from pytest_editpitfalls.collection.parametrize import CaseParam
from pytest_editpitfalls.errors import CaseError, PitfallsError, UsageError
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.options.editor_labels import editor_name
from pytest_editpitfalls.scheduling import planning

if TYPE_CHECKING:
    from pytest_editpitfalls.cases.program import CaseScores, SuitePrograms
    from pytest_editpitfalls.engine.session import EngineSession
    from pytest_editpitfalls.engine.settings import Progress


class Watcher(Protocol):
    """Shows what goes on: remarks of the engine, and a line of progress while a batch runs."""

    def announce(self, text: str) -> None:
        """Show a remark of the engine ("model needs 0.6 GB")."""

    def start(self, batch: planning.Batch, done: int, total: int) -> None:
        """A batch begins; ``done`` of ``total`` selected cases are finished."""

    def progress(self, progress: Progress) -> None:
        """The batch has come further."""

    def stop(self) -> None:
        """The batch has ended."""


class Runner:
    """The engine's side of a run: sessions, batches and their scores.

    Args:
        run: what the user asked for.
        watcher: who is told about progress.
    """

    def __init__(self, run: RunConfig, watcher: Watcher) -> None:
        self.run = run
        self.watcher = watcher
        self._told: set[tuple[str, str]] = set()
        self._params: dict[planning.Slot, CaseParam] = {}
        self._plan: dict[planning.Group, tuple[int, ...]] = {}
        self._scores: dict[planning.Slot, CaseScores] = {}
        self._opened: tuple[str, EngineSession] | None = None
        self._refused: dict[str, PitfallsError] = {}
        self._suites: dict[str, SuitePrograms] = {}

    def select(self, params: Iterable[CaseParam]) -> None:
        """Take the selected cases; batches are cut from these and nothing else."""
        self._params = {param.slot: param for param in params}
        self._plan = planning.plan(self._params)

    @property
    def models(self) -> tuple[str, ...]:
        """Labels of the models that selected cases need, in the user's order."""
        needed = {group.model for group in self._plan}
        return tuple(label for label in self.run.labels.values() if label in needed)

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
        model = next(name for name, known in self.run.labels.items() if known == label)
        try:
            session = EngineSession.open(self.run.engine_settings(model), announce=self.watcher.announce)
        except PitfallsError as error:
            self._refused[label] = error
            raise
        self._opened = (label, session)
        return session

    def scores(self, param: CaseParam) -> CaseScores:
        """Return the scores of one case; the first call for a case runs its whole batch.

        Raises:
            UsageError: the model or the editor cannot be used at all.
        """
        if param.slot not in self._scores:
            self._run_batch(param)
        return self._scores[param.slot]

    def describe(self, param: CaseParam) -> dict[str, Any]:
        """Return the engine's description of the editor and model of ``param``, of plain JSON types."""
        return dict(self.session(param.model).describe(param.engine_editor))

    @contextmanager
    def edited(self, param: CaseParam, state: str) -> Iterator[Any]:
        """Give the Hugging Face model, answering as the edited one of ``state`` inside the context."""
        program = param.program()
        states = [known.name for known in program.states]
        if state not in states:
            raise UsageError(
                f"case {param.case.id} has no state '{state}'", fix=f"its states are {', '.join(states)}"
            )
        with self.session(param.model).edited(
            param.engine_editor, program, state, self._suite(param)
        ) as model:
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

    def prepare(self) -> None:
        """Open the first model and look at every editor, so that a wrong command line stops before the first test.

        Raises:
            UsageError: as `session`; or wrong hyper-parameters.
        """
        for label in self.models[:1]:
            wanted = (editor_name(group.editor) for group in self._plan if group.model == label)
            for editor in dict.fromkeys(wanted):
                self.session(label).describe(editor)

    def _suite(self, param: CaseParam) -> SuitePrograms:
        """All cases of the suite, whatever was selected: what an editor takes from them must not depend on ``-k``."""
        from pytest_editpitfalls.cases.compilers import compile_case
        from pytest_editpitfalls.cases.program import SuitePrograms

        suite = param.suite
        if suite.name not in self._suites:
            self._suites[suite.name] = SuitePrograms(
                suite.name, lambda: [compile_case(case) for case in suite.cases]
            )
        return self._suites[suite.name]

    def _run_batch(self, param: CaseParam) -> None:
        slot = param.slot
        indices = self._plan.get(slot.group, (slot.index,))
        session = self.session(param.model)
        batch = planning.batch_of(
            slot.group, indices, slot.index, max(1, session.batch_size(param.engine_editor))
        )
        slots = [planning.Slot(batch.group, index) for index in batch.indices]
        programs = [self._params.get(each, param).program() for each in slots]
        self.watcher.start(batch, len(self._scores), len(self._params))
        try:
            answers = session.run(
                param.engine_editor, programs, progress=self.watcher.progress, suite=self._suite(param)
            )
        finally:
            self.watcher.stop()
        by_id = {answer.case_id: answer for answer in answers}
        for each, program in zip(slots, programs, strict=True):
            if program.case_id not in by_id:
                raise CaseError(f"the engine gave no answer for case {program.case_id}")
            self._scores[each] = by_id[program.case_id]
