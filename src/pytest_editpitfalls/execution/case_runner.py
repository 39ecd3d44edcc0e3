"""Runs batches: recalls what is stored, asks the engine for the rest when the first of a batch's cases is asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.execution import planning
from pytest_editpitfalls.execution.planning import Slot
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.session.parametrize import CaseParam

from .executor import Answers, Job, Watcher, engine_of
from .result_cache import StoredScores

if TYPE_CHECKING:
    from pytest_editpitfalls.engine.session import EngineSession
    from pytest_editpitfalls.execution.xdist.exchange import Exchange
    from pytest_editpitfalls.program import CaseScores, SuitePrograms

WHOLE = 2**31
"""A batch size that cuts nothing: the engine cuts to what it can take."""


@dataclass
class Rest:
    """What is left of a batch. Kept from one call to the next: a batch of a whole suite is asked for once a chunk.

    Attributes:
        slots: the cases that have no scores yet, in order.
        is_recalled: whether all of them have been looked up in the store.
    """

    slots: dict[Slot, None]
    is_recalled: bool = False


class Runner:
    """The scores of a run's cases.

    Attributes:
        first_batch: seconds that the first batch took to be edited and scored; None before.

    Args:
        run: what the user asked for.
        watcher: who is told about progress.
        stored: the run's store.
        exchange: where the controller says which items run apart from their batch; None in a run of one process.
        sharing: processes of the run that share the device, this one included.
    """

    def __init__(
        self,
        run: RunConfig,
        watcher: Watcher,
        stored: StoredScores,
        exchange: Exchange | None = None,
        sharing: int = 1,
    ) -> None:
        self.run = run
        self.watcher = watcher
        self.engine = engine_of(run, watcher, sharing)
        self.stored = stored
        self._exchange = exchange
        self._slots: list[Slot | None] = []
        self._params: dict[Slot, CaseParam] = {}
        self._rests: tuple[Rest, ...] = ()
        self._planned: dict[Slot, Rest] = {}
        self._scores: dict[Slot, CaseScores] = {}
        self._metrics: dict[Slot, dict[str, float | None]] = {}
        self._cached: set[Slot] = set()
        self.first_batch: float | None = None
        self._suites: dict[str, SuitePrograms] = {}

    def select(self, params: Sequence[CaseParam | None], size: int = WHOLE) -> list[tuple[int, ...]]:
        """Take the items of the run, None for those without a case; batches are cut from these and nothing else.

        Returns:
            The items of each batch.
        """
        self._slots = [None if param is None else param.slot for param in params]
        self._params = {param.slot: param for param in params if param is not None}
        batches = planning.plan(self._params, size)
        self._rests = tuple(Rest(dict.fromkeys(batch)) for batch in batches)
        self._planned = {slot: rest for rest in self._rests for slot in rest.slots}
        return planning.items_of(batches, self._slots)

    @property
    def models(self) -> tuple[str, ...]:
        """Labels of the models that selected cases need, in the user's order."""
        needed = {slot.group.model for slot in self._params}
        return tuple(label for label in self.run.labels.values() if label in needed)

    @property
    def no_model(self) -> str | None:
        """Why no model can be had in this process; None where one can."""
        if self.run.replay:
            return "a replay loads no model: run without --pitfalls-replay"
        return self.engine.elsewhere

    def session(self, label: str) -> EngineSession:
        """The engine session of a model; see `Engine.session`."""
        return self.engine.session(label)

    def scores(self, param: CaseParam) -> CaseScores:
        """Return the scores of one case; the first call for a case runs its whole batch.

        Raises:
            UsageError: the model or the editor cannot be used at all, or a replayed case is not in the store.
        """
        self._params.setdefault(param.slot, param)
        if param.slot not in self._scores:
            self._recall(self._rest_of(param.slot))
        if param.slot not in self._scores:
            if self.run.replay:
                raise self.stored.missing(param)
            self._compute(param)
        return self._scores[param.slot]

    def metrics(self, param: CaseParam) -> dict[str, float | None]:
        """Return the metrics of a case that has scores; computed once for the store, the verdict and the record."""
        if (found := self._metrics.get(param.slot)) is None:
            from pytest_editpitfalls.pitfalls import compute_metrics

            found = compute_metrics(param.case.kind, self._scores[param.slot].probes)
            self._metrics[param.slot] = found
        return found

    def is_cached(self, param: CaseParam) -> bool:
        """Whether the scores of a case came from the store."""
        return param.slot in self._cached

    def is_described(self, param: CaseParam) -> bool:
        """Whether `describe` can be asked without loading anything."""
        return self.stored.knows(param) or self.engine.is_open(param.model)

    def describe(self, param: CaseParam) -> dict[str, Any]:
        """Return the engine's description of the editor and model of ``param``, of plain JSON types.

        The same object until a batch has changed it, and not to be changed by anybody else.
        """
        if self.stored.knows(param):
            return self.stored.description(param)
        return self._described(param)

    @contextmanager
    def edited(self, param: CaseParam, state: str) -> Iterator[Any]:
        """Give the Hugging Face model, answering as the edited one of ``state`` inside the context."""
        program = param.program()
        states = [known.name for known in program.states]
        if state not in states:
            raise UsageError(
                f"case {param.case.id} has no state '{state}'", fix=f"its states are {', '.join(states)}"
            )
        session = self.session(param.model)
        with session.edited(param.engine_editor, program, state, self._suite(param)) as model:
            yield model

    def prepare(self) -> None:
        """Open the first model and look at every editor, so that a wrong command line stops before the first test.

        Raises:
            UsageError: as `Engine.describe`; wrong hyper-parameters; a replay that is not one run.
        """
        if self.run.replay:
            self.stored.choose()
            return
        _ = self.stored.store  # a directory that is something else is refused before anything is loaded
        for label in self.models[:1]:
            wanted = {
                param.engine_editor: param
                for slot, param in self._params.items()
                if slot.group.model == label
            }
            for param in wanted.values():
                self._described(param)

    def _suite(self, param: CaseParam) -> SuitePrograms:
        """All cases of the suite, whatever was selected: what an editor takes from them must not depend on ``-k``."""
        from pytest_editpitfalls.pitfalls import compile_case
        from pytest_editpitfalls.program import SuitePrograms

        suite = param.suite
        if suite.name not in self._suites:
            self._suites[suite.name] = SuitePrograms(
                suite.name, lambda: [compile_case(case) for case in suite.cases]
            )
        return self._suites[suite.name]

    def _rest_of(self, slot: Slot) -> Rest:
        """What is left of a case's batch: of what the controller set apart, else of what was planned."""
        if self._exchange is not None:
            for unit in self._exchange.apart():
                apart = {self._slots[item] for item in unit}
                if slot in apart:
                    left = (each for each in self._params if each in apart and each not in self._scores)
                    return Rest(dict.fromkeys(left))
        planned = self._planned.get(slot)
        return Rest({slot: None}) if planned is None else planned

    def _recall(self, rest: Rest) -> None:
        """Look the cases up in the store, once."""
        if rest.is_recalled:
            return
        for slot in tuple(rest.slots):
            param = self._params[slot]
            if not self.stored.knows(param):
                if self.run.replay:
                    self.stored.choose()
                else:
                    self.stored.meet(param, self._described(param))
            if (scores := self.stored.recall(param, self._suite(param))) is not None:
                self._take(slot, scores)
                rest.slots.pop(slot, None)
                self._cached.add(slot)
        rest.is_recalled = True

    def _take(self, slot: Slot, scores: CaseScores) -> None:
        self._scores[slot] = scores
        if (planned := self._planned.get(slot)) is not None:
            planned.slots.pop(slot, None)

    def _described(self, param: CaseParam) -> dict[str, Any]:
        return self.engine.describe(param.engine_editor, param.model)

    def _compute(self, param: CaseParam) -> None:
        """Have the engine run until the case is done; what it finishes besides is taken too."""
        job = next(each for each in self._jobs(self._rest_of(param.slot)) if param.slot in each.batch)
        self.watcher.start(job.batch, len(self._scores), len(self._params))
        try:
            for answers in self.engine.run(param.slot, itertools.chain([job], self._left())):
                self._keep(answers)
        finally:
            self.watcher.stop()

    def _left(self) -> Iterator[Job]:
        """The batches of the run that are not in the store, each looked up when it is asked for."""
        for rest in self._rests:
            self._recall(rest)
            yield from self._jobs(rest)

    def _jobs(self, rest: Rest) -> Iterator[Job]:
        """What is missing of a batch, cut to what the engine takes, which it knows better after its first batch."""
        missing = tuple(rest.slots)
        while missing:
            param = self._params[missing[0]]
            size = self.engine.batch_size(param.engine_editor, param.model, len(self._params))
            part = planning.cut(missing, size)[0]
            programs = tuple(self._params[slot].program() for slot in part)
            yield Job(param.engine_editor, param.model, part, programs, self._suite(param))
            missing = missing[len(part) :]

    def _keep(self, answers: Answers) -> None:
        for slot, scores in answers.items():
            self._take(slot, scores)
        if self.first_batch is None:
            self.first_batch = sum(scores.seconds for scores in answers.values())
        params = [self._params[slot] for slot in answers]
        finished = [(param, self._scores[param.slot], self.metrics(param)) for param in params]
        param = params[0]  # one batch is of one suite, editor and model
        self.stored.keep(finished, self._suite(param))
        self.stored.describe_again(param, self._described(param))
        self.watcher.reached(len(self._scores))

    def close(self) -> None:
        """The run is over."""
        self.engine.close()
