"""Gives each case its scores: from the store, or by having the executor run its batch when the first case is asked."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pytest_editpitfalls.engine.settings import Expected
from pytest_editpitfalls.errors import PitfallsError, UntrustedEditor
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.pitfalls import compute_metrics
from pytest_editpitfalls.program import CaseScores, Program

from . import planning
from .executor import Answers, Executor, Job, ProgressListener
from .judging import Judge
from .pending import PendingBatch, PendingBatches
from .planning import BatchGroup, PlannedCase, Unit
from .repeatability import Pair, RepeatCheck, Unrepeatable
from .result_cache import ResultCache
from .selected_case import CompiledSuites, SelectedCase

SHORT = 4
"""Edits of a case that shares a batch with cases of other suites: chains take hundreds of times as long."""


class CaseRunner:
    """The scores of a run's cases; ``first_batch``: seconds that the first batch took, None before.

    Args:
        alone: whether no other process runs cases of this run: then batches are filled up with cases of other suites.
    """

    def __init__(
        self,
        run: RunConfig,
        executor: Executor,
        cache: ResultCache,
        suites: CompiledSuites,
        listener: ProgressListener,
        isolated_units: Callable[[], Iterable[Unit]] = tuple,
        judge: Judge | None = None,
        *,
        alone: bool = True,
    ) -> None:
        self.batches = PendingBatches(isolated_units)
        self._judge = judge
        self._fills = alone and executor.no_model is None and not run.isolate
        self.first_batch: float | None = None
        self._run = run
        self._executor = executor
        self._cache = cache
        self._suites = suites
        self._listener = listener
        self._scores: dict[PlannedCase, CaseScores] = {}
        self._metrics: dict[PlannedCase, dict[str, float | None]] = {}
        self._cached: set[PlannedCase] = set()
        self._computed: dict[Pair, list[SelectedCase]] = {}
        self._repeat_check = RepeatCheck(self._run_alone, self._dtype_of)

    @property
    def unrepeatable(self) -> Sequence[Unrepeatable]:
        """The editors of which `check_repeatable` has found that a case depends on the cases before it."""
        return self._repeat_check.found

    def check_repeatable(self) -> None:
        """Run the first case of somebody's own editors again; what one that gives something else has stored goes.

        To be called when all cases of this process have run, and before another model is opened.
        """
        for pair in self._repeat_check.check():
            self._forget(self._computed.get(pair, ()))
        self._computed.clear()

    def _forget(self, cases: Iterable[SelectedCase]) -> None:
        for case in {(each.editor, each.model): each for each in cases}.values():  # with and without +mle, each seed
            self._cache.forget(case)

    def prepare(self) -> None:
        """Open the first model and look at every editor, so that a wrong command line stops before the first test.

        Raises:
            UsageError: as `Executor.describe`; wrong hyper-parameters; a replay that is not one run.
        """
        if self._run.replay:
            self._cache.select_stored_runs()
            return
        _ = self._cache.directory  # a directory that is something else is refused before anything is loaded
        selected = self.batches.all_selected()
        needed = {case.model for case in selected}
        for model in [label for label in self._run.labels.values() if label in needed][:1]:
            firsts: dict[str, SelectedCase] = {}  # of several seeds one is enough
            for case in selected:
                if case.model == model:
                    firsts.setdefault(case.engine_editor, case)
            for case in firsts.values():
                self._describe(case)

    def scores(self, case: SelectedCase) -> CaseScores:
        """Return the scores of one case; the first call for a case runs its whole batch.

        Raises:
            UsageError: the model or the editor cannot be used at all, or a replayed case is not in the store.
        """
        self.batches.add(case)
        if case.planned not in self._scores:
            self._is_missing(case.planned, self.batches.containing(case.planned))
            self._cache.report_stored()
        if case.planned not in self._scores:
            if self._run.replay:
                raise self._cache.missing(case, self._suites.of(case.suite))
            if case.planned in self.batches.finished:  # it was let go, and is asked for again
                self._finish(case.planned, self._judged(case, self._again(self._job_of([case]))))
            else:
                self._compute(case)
        return self._scores[case.planned]

    def reported(self, case: SelectedCase) -> None:
        """An item about the case is over: behind the last one the case's scores are let go.

        With thousands of cases they would be most of what the process holds.
        """
        if self.batches.reported(case.planned):
            self._scores.pop(case.planned, None)
            self._metrics.pop(case.planned, None)

    def metrics(self, case: SelectedCase) -> dict[str, float | None]:
        """Return the metrics of a case that has scores; computed once for the store, the verdict and the record."""
        if (found := self._metrics.get(case.planned)) is None:
            found = compute_metrics(case.case.kind, self._scores[case.planned].probes)
            self._metrics[case.planned] = found
        return found

    def is_cached(self, case: SelectedCase) -> bool:
        """Whether the scores of a case came from the store."""
        return case.planned in self._cached

    def description(self, case: SelectedCase) -> dict[str, Any] | None:
        """Return the engine's description of the case's editor and model; None where that would load a model.

        It is the same object until a batch has changed it, and must not be changed by the caller.
        """
        if self._cache.has_run_of(case):
            return self._cache.description(case)
        return self._describe(case) if self._executor.is_open(case.model) else None

    def _describe(self, case: SelectedCase) -> dict[str, Any]:
        return self._executor.describe(case.engine_editor, case.model, case.seed)

    def _look_up(self, planned: PlannedCase) -> bool:
        """Look one case up in the store; whether it is there."""
        case = self.batches.selected(planned)
        if not self._cache.has_run_of(case):
            if self._run.replay:
                self._cache.select_stored_runs()
            else:
                self._cache.add_run(case, self._describe(case))
        scores = self._cache.lookup(case, self._suites.of(case.suite))
        if scores is None:
            return False
        if planned not in self.batches.finished:  # else this run computed it, and let it go
            self._cached.add(planned)
        self._finish(planned, scores)
        return True

    def _missing(self, batch: PendingBatch, count: int) -> list[PlannedCase]:
        """The next cases of a batch that are not in the store, at most ``count``; each is looked up once.

        No more are looked up than that takes: programs and scores of thousands of cases need not be held together.
        """
        found: list[PlannedCase] = []
        for planned in tuple(batch.cases):
            if len(found) == count:
                break
            if self._is_missing(planned, batch):
                found.append(planned)
            else:
                batch.cases.pop(planned, None)
        return found

    def _is_missing(self, planned: PlannedCase, batch: PendingBatch) -> bool:
        """Whether the store does not have a case of a batch, which is looked up once."""
        if planned not in batch.missing:
            if self._look_up(planned):
                return False
            batch.missing.add(planned)
        return True

    def _finish(self, case: PlannedCase, scores: CaseScores) -> None:
        self._scores[case] = scores
        self.batches.finish(case)

    def _compute(self, case: SelectedCase) -> None:
        """Have the executor run until the case is done; what it finishes besides is taken too."""
        is_local = self._executor.no_model is None
        if is_local and self._computed and case.model not in {model for _, model in self._computed}:
            self.check_repeatable()  # the model that is open makes room for the next one
        jobs = self._jobs(self.batches.containing(case.planned))
        first = self._filled(next(job for job in jobs if case.planned in job.batch))
        self._listener.start(first.batch, len(self.batches.finished), len(self.batches), self._expected(first))
        try:
            for answers in self._executor.run(case.planned, itertools.chain([first], self._remaining_jobs())):
                self._keep(answers)
        except UntrustedEditor:
            self._forget([case])
            raise
        finally:
            self._listener.stop()

    def _expected(self, first: Job) -> Expected | None:
        """What earlier runs let expect; None once this run's first batch has ended, or where nobody sees it."""
        if self.first_batch is not None or not self._listener.is_shown:
            return None
        left = [case for case in self.batches.all_selected() if case.planned not in self.batches.finished]
        return self._cache.expected([self.batches.selected(planned) for planned in first.batch], left)

    def _remaining_jobs(self) -> Iterator[Job]:
        """Yield the batches of the run that are not in the store, each looked up when it is asked for."""
        for batch in self.batches:
            yield from self._jobs(batch)

    def _jobs(self, batch: PendingBatch) -> Iterator[Job]:
        """Cut what is left of a batch to what the engine takes, which it knows better after its first batch."""
        left = PendingBatch(dict(batch.cases), batch.missing)
        while left.cases:
            case = self.batches.selected(next(iter(left.cases)))
            size = self._executor.batch_size(case.engine_editor, case.model, len(self.batches))
            part = self._missing(left, planning.part_size(len(left.cases), size))
            self._cache.report_stored()
            if part:
                yield self._job_of([self.batches.selected(planned) for planned in part])
            for planned in part:
                left.cases.pop(planned, None)

    def _filled(self, job: Job) -> Job:
        """A job with as many cases as the engine takes: the next ones of the same editor and model, of any suite.

        Not the first one: its answers are waited for.
        """
        if not self._fills or self.first_batch is None or not all(map(_is_short, job.programs)):
            return job
        size = self._executor.batch_size(job.editor, job.model, len(self.batches))
        # No more than so many are looked up: a batch that is not full costs less than reading a whole store.
        looked_up = itertools.islice(self._alike(job), 2 * size)
        more = itertools.islice((case for case in looked_up if case is not None), max(0, size - len(job.batch)))
        return self._job_of([*map(self.batches.selected, job.batch), *more])

    def _alike(self, job: Job) -> Iterator[SelectedCase | None]:
        """Yield the cases without scores that could be in the same batch as a job's; None for one in the store."""
        group, there = job.batch[0].group, set(job.batch)
        for batch in self.batches:
            own = next((each.group for each in batch.cases), None)
            if own is None or (own.editor, own.model) != (group.editor, group.model):
                continue
            for planned in tuple(batch.cases):
                if planned in there or not self.batches.is_awaited(planned):
                    continue
                case = self.batches.selected(planned)
                try:
                    fits = _is_short(case.program())
                    is_missing = fits and self._is_missing(planned, batch)
                except Exception:  # whatever its kind raises: its own test says so
                    continue
                if fits:
                    yield case if is_missing else None

    def _job_of(self, cases: Sequence[SelectedCase]) -> Job:
        """The job of cases of one editor and model."""
        first = cases[0]
        batch, programs = tuple(case.planned for case in cases), tuple(case.program() for case in cases)
        suites = tuple(self._suites.of(case.suite) for case in cases)
        return Job(first.engine_editor, first.model, batch, programs, suites, first.seed)

    def _run_alone(self, job: Job) -> CaseScores:
        """A case once more, for the repeat check."""
        return self._again(job, f"{job.editor}: {job} is run again, to see whether it gives the same")

    def _again(self, job: Job, announcement: str | None = None) -> CaseScores:
        self._listener.start(job.batch, len(self.batches.finished), len(self.batches))
        if announcement is not None:
            self._listener.announce(announcement)
        try:
            return self._executor.run_again(job)
        except PitfallsError as error:
            return CaseScores(job.programs[0].case_id, error=str(error))
        finally:
            self._listener.stop()

    def _dtype_of(self, pair: Pair) -> str:
        model = self._executor.describe(*pair)["model"]
        return str(model.get("computed_in", model["dtype"]))  # quantised weights are computed with in another

    def _judged(self, case: SelectedCase, scores: CaseScores) -> CaseScores:
        return scores if self._judge is None else self._judge.scores(case.program(), scores)

    def _keep(self, answers: Answers) -> None:
        """Take the scores of a finished batch, and store them at once."""
        for planned, scores in answers.items():
            self._finish(planned, self._judged(self.batches.selected(planned), scores))
        if self.first_batch is None:
            self.first_batch = sum(scores.seconds for scores in answers.values())
        cases = [self.batches.selected(planned) for planned in answers]
        first = cases[0]  # one batch is of one editor and model
        groups: dict[BatchGroup, list[SelectedCase]] = {}
        for case in cases:
            groups.setdefault(case.planned.group, []).append(case)
        for group in groups.values():
            finished = [(case, self._scores[case.planned], self.metrics(case)) for case in group]
            self._cache.store(finished, self._suites.of(group[0].suite))
        self._computed.setdefault((first.engine_editor, first.model), []).extend(cases)
        if not self._run.isolate:  # there every case starts with the same
            self._repeat_check.computed(self._job_of(cases), list(answers.values()))
        self._cache.update_description(first, self._describe(first))
        self._listener.reached(len(self.batches.finished))


def _is_short(program: Program) -> bool:
    """Whether a program may share a batch with those of other suites: it has few edits, all its own."""
    return not program.shared and sum(map(len, program.steps)) <= SHORT
