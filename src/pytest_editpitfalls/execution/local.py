"""Runs batches in this process: one model at a time, opened when the first batch needs it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.causes import CAUSES
from pytest_editpitfalls.engine.settings import FETCH, SHOWN
from pytest_editpitfalls.engine.walls import KnownWalls, Walls
from pytest_editpitfalls.errors import CaseError, PitfallsError
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.program import CaseScores, cause_id

from .executor import Answers, Job, ProgressListener
from .forked import ForkedCases
from .planning import PlannedCase
from .time_limit import BatchTimeout, time_limit, too_slow

if TYPE_CHECKING:
    from pytest_editpitfalls.engine.session import EngineSession
    from pytest_editpitfalls.engine.settings import EngineSettings

_ENGINE = "pytest_editpitfalls.engine.session"


class LocalExecutor:
    """Runs batches in this process, one of ``sharing`` processes that share the device's memory.

    Args:
        walls: where the processes of the run tell one another which batches did not fit.
    """

    no_model: str | None = None

    def __init__(
        self, run: RunConfig, listener: ProgressListener, sharing: int = 1, walls: Walls | None = None
    ) -> None:
        self._run = run
        self._listener = listener
        self._sharing = sharing
        self._walls = KnownWalls() if walls is None else walls
        self._opened: tuple[str, EngineSession] | None = None
        self._seeded: tuple[int, EngineSession] | None = None  # the open model under another seed
        self._refused: dict[str, PitfallsError] = {}
        self._reported: set[tuple[str, str]] = set()
        self._imports: dict[str, float] | None = None  # by stage, until they are taken
        self._forked = ForkedCases() if run.isolate else None

    def is_open(self, model: str) -> bool:
        """Whether this model is the one that is held now."""
        return self._opened is not None and self._opened[0] == model

    def session(self, model: str, seed: int | None = None) -> EngineSession:
        """Return the engine session of a model, opening it when it is not the one that is open.

        One model is held at a time, and the editors of one seed beside those of the run's own: items run sorted by
        model and seed.

        Raises:
            UsageError: the model cannot be opened; raised again for every further case.
        """
        session = self._open(model)
        if seed is None:
            return session
        if self._seeded is None or self._seeded[0] != seed:
            self._seeded = None  # lets the memory of its editors go first
            self._seeded = seed, session.under_seed(seed)
        return self._seeded[1]

    def _open(self, model: str) -> EngineSession:
        if self._opened is not None and self._opened[0] == model:
            return self._opened[1]
        if model in self._refused:
            raise self._refused[model]
        settings = self._run.engine_settings(self._run.model_of(model))
        settings = replace(settings, processes=self._sharing, walls=self._walls)
        try:
            with self._listener.busy(f"loading {model}"):
                session = self._loaded(settings)
        except PitfallsError as error:
            self._refused[model] = error
            raise
        self._opened = (model, session)
        return session

    def _loaded(self, settings: EngineSettings) -> EngineSession:
        from pytest_editpitfalls.engine.models import fetched_meanwhile

        announce = self._listener.announce
        with nullcontext() if _ENGINE in sys.modules else fetched_meanwhile(settings, announce):
            started = time.perf_counter()
            from pytest_editpitfalls.engine.session import EngineSession  # with it come torch and transformers

            imported = time.perf_counter()
        if self._imports is None:
            self._imports = {"imports": imported - started}
            if (waited := time.perf_counter() - imported) >= SHOWN:
                self._imports[FETCH] = waited
            if self._forked is not None:
                self._forked.opened()
        self._opened = self._seeded = None  # lets the memory go before the next model comes
        return EngineSession.open(settings, announce=announce)

    def batch_size(self, editor: str, model: str, cases: int) -> int:
        """Return how many cases are worth a batch, as far as is known now; see `EngineSession.batch_size`."""
        return max(1, self.session(model).batch_size(editor))

    def describe(self, editor: str, model: str, seed: int | None = None) -> dict[str, Any]:
        """Return the description of an editor and a model; see `Executor.describe`."""
        return dict(self.session(model, seed).describe(editor))

    def run(self, wanted: PlannedCase, jobs: Iterable[Job]) -> Iterator[Answers]:
        """Run the batch of ``wanted`` and no other."""
        yield from self.run_job(next(iter(jobs)))

    def run_again(self, job: Job) -> CaseScores:
        """Run one case once more."""
        (wanted,) = job.batch
        return next(self.run_job(job))[wanted]

    def run_job(self, job: Job) -> Iterator[Answers]:
        """Run one batch; one that takes too long is run again case by case, and a case that does is an error."""
        session, limit = self.session(job.model, job.seed), self._run.timeout
        try:
            with time_limit(limit, str(job), self._listener.announce), CAUSES.of_batch() as raised:
                identity = partial(self._chain_identity, session, job)
                progress = self._listener.progress
                if self._forked is None:
                    scores = session.run(
                        job.editor, job.programs, progress=progress, suite=job.suites, identity=identity
                    )
                else:
                    scores = self._forked.run(session, job.editor, job.programs, progress, job.suites[0], identity)
        except BatchTimeout:
            if len(job.batch) > 1:
                self._listener.announce(f"{job} took longer than {limit:g} s: its cases run one by one")
                for case in job.batch:
                    yield from self.run_job(job.only((case,)))
                return
            raised, scores = {}, [CaseScores(job.programs[0].case_id, error=too_slow(job.editor, limit))]
        for place, program in enumerate(job.programs):  # not by their ids: cases of two suites may have one
            if place >= len(scores) or scores[place].case_id != program.case_id:
                raise CaseError(f"the engine gave no answer for case {program.case_id}")
        for case, program, suite, answer in zip(job.batch, job.programs, job.suites, scores, strict=True):
            if answer.error is not None:
                CAUSES.assign(case, raised, cause_id(suite, program.edits_id), answer.error)
        yield dict(zip(job.batch, scores, strict=True))

    def _chain_identity(self, session: EngineSession, job: Job) -> str | None:
        from pytest_editpitfalls.store.identity import chain_identity, run_header

        settings = self._run.engine_settings(self._run.model_of(job.model))
        description = session.describe(job.editor)
        header = run_header(job.editor, settings, description, model_label=job.model, run_id="this run")
        return chain_identity(header, job.suites[0])  # long chains share no job with other suites

    def take_seconds(self) -> dict[str, float]:
        """Return the seconds spent outside of batches since the last call ("imports", "load", "prepare rome")."""
        fresh: dict[str, float] = {}
        if self._imports:
            fresh, self._imports = self._imports, {}
        if self._opened is None:
            return fresh
        label, session = self._opened
        for stage, seconds in session.seconds.items():
            if (label, stage) not in self._reported:
                self._reported.add((label, stage))
                fresh[stage] = fresh.get(stage, 0.0) + float(seconds)
        return fresh

    def close(self) -> None:
        """Nothing to do: the model goes with the process."""
