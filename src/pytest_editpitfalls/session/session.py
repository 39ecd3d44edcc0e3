"""One run with an editor: what was asked, and the parts that answer it."""

from __future__ import annotations

import uuid
from dataclasses import replace
from functools import partial

import pytest

from pytest_editpitfalls.causes import CAUSES
from pytest_editpitfalls.engine.walls import Walls
from pytest_editpitfalls.errors import CaseError, UsageError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.execution.case_runner import CaseRunner
from pytest_editpitfalls.execution.executor import Executor, ProgressListener
from pytest_editpitfalls.execution.judging import Judge
from pytest_editpitfalls.execution.local import LocalExecutor
from pytest_editpitfalls.execution.model_lending import ModelLender
from pytest_editpitfalls.execution.result_cache import ResultCache
from pytest_editpitfalls.execution.selected_case import CompiledSuites, SelectedCase
from pytest_editpitfalls.execution.xdist.run_directory import RunDirectory
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.program import CaseScores
from pytest_editpitfalls.reports.adapters import wanted_adapters
from pytest_editpitfalls.suites.suite import Suite

from .audited_suites import AuditedSuites
from .baseline_policy import BaselinePolicy
from .held_only import unheld_reason
from .item_report import ItemReporter
from .items import Parametrizer
from .outcome import Outcome
from .properties import Benches
from .rerun import rerun_command
from .selection import select
from .timers import TestTimers
from .verdict_policy import VerdictPolicy


class PitfallsSession:
    """One run with an editor. Made before collection, in every process of the run.

    Attributes:
        suites: the suites of the run by name; those of test modules are added while they are collected.
        properties: the editors whose properties are looked at.
        timers: those that limit a single test: stopped while the engine works.
        usage_error: why the model or the editor cannot be used at all; None where nothing is wrong so far.

    Args:
        directory: what this process shares with the controller, in a worker.
        sharing: processes of the run that share the device, this one included.

    Raises:
        UsageError: an unknown suite, a broken suite file, one that an audit cannot ask, a wrong gate or threshold, an
            unreadable baseline.
    """

    def __init__(
        self,
        config: pytest.Config,
        run: RunConfig,
        listener: ProgressListener,
        directory: RunDirectory | None = None,
        sharing: int = 1,
    ) -> None:
        worker = getattr(config, "workerinput", {})
        run_id = worker.get("testrunuid") or uuid.uuid4().hex
        isolated_units = tuple if directory is None else directory.isolated_units
        self.run = run
        self.is_distributed = config.getoption("dist", "no") != "no" and bool(config.getoption("tx", None))
        self.selection = select(config, run)
        self.suites: dict[str, Suite] = {suite.name: suite for suite in self.selection.suites}
        programs = CompiledSuites()
        audit = AuditedSuites(run, programs)
        audit.check_selection(self.selection)
        self.parametrizer = Parametrizer(run, self.suites, audit.check)
        self.judge = None if run.judge is None else Judge.at(run.judge)
        self.baseline = BaselinePolicy(run, config.rootpath, self.judge)
        self.verdicts = VerdictPolicy(run, self.suites, self.baseline, knows_all_suites=not self.selection.paths)
        tell_stored = None if directory is None else partial(directory.report_stored, worker["workerid"])
        self.cache = ResultCache(run, run_id, tell_stored, self.judge)
        alone = directory is None
        walls = None if directory is None else directory.walls(worker["workerid"])
        self.executor = _executor(run, listener, sharing, walls)
        self.runner = CaseRunner(
            run, self.executor, self.cache, programs, listener, isolated_units, self.judge, alone=alone
        )
        self.models = ModelLender(run, self.executor, programs, listener)
        self.reporter = ItemReporter(
            self.runner,
            self.executor,
            self.cache,
            self.verdicts,
            frozenset(self.suites),
            with_junit=bool(config.getoption("xmlpath", None)),
            adapters=wanted_adapters(config),
            judge=self.judge,
        )
        self.properties = Benches(self, listener.announce)
        self.timers = TestTimers(config)
        self.usage_error: str | None = None

    def outcome(self, item: pytest.Item, case: SelectedCase) -> Outcome:
        """Return the outcome of an item's case, running its batch when it is the first to ask.

        Raises:
            CaseError: the editor or the model failed on this case.
            UsageError: the model or the editor cannot be used at all; pytest stops after this item.
        """
        scores = self._scores(item, case)
        if self.run.held_only and scores.error is None and scores.skipped is None:
            scores = replace(scores, skipped=unheld_reason(case.case, scores))
        metrics = self.runner.metrics(case)
        is_scored = scores.error is None and scores.skipped is None
        nothing = scores.changed_nothing
        verdict = self.verdicts.judge(case.suite, metrics, changed_nothing=nothing) if is_scored else None
        self.reporter.start(item, case, scores, metrics, verdict)
        if scores.error is not None:
            error = CaseError(scores.error, where=f"{case.suite.name} case {case.case.id}")
            if (cause := CAUSES.take(case.planned)) is not None:  # --pdb and --tb=long land in the editor's code
                raise error.with_traceback(cause.__traceback__) from cause
            raise error
        if scores.skipped is not None:
            pytest.skip(visible(scores.skipped, keep_newlines=True))
        assert verdict is not None
        return Outcome(
            case=case.case,
            editor=case.editor,
            model=case.model,
            metrics=metrics,
            probes=scores.probes,
            verdict=verdict,
            held=scores.held,
            held_parts=dict(scores.held_parts),
            notes=scores.notes,
            seconds=scores.seconds,
            timings=scores.timings,
            excuse=self.verdicts.excuse(case),
            judge_by=partial(self.verdicts.judge_by, case.case.kind, metrics, nothing),
            make_rerun=partial(rerun_command, item, case, self.run),
        )

    def count_stored(self) -> tuple[int, int]:
        """Return how many cases of this process are in the store, and how many there are."""
        return len(self.cache.stored), len(self.runner.batches)

    def _scores(self, item: pytest.Item, case: SelectedCase) -> CaseScores:
        try:
            with self.timers.stopped():
                scores = self.runner.scores(case)
            if self.baseline.baseline is not None:
                model = (self.runner.description(case) or {})["model"]
                self.baseline.check_model(case.model, model.get("fingerprint"), model.get("dtype"))
        except UsageError as error:
            self.usage_error = str(error)
            item.session.shouldstop = self.usage_error.splitlines()[0]
            raise
        return scores


def _executor(run: RunConfig, listener: ProgressListener, sharing: int, walls: Walls | None) -> Executor:
    """Return the executor that the user asked for; it loads nothing before it is asked something."""
    if run.engine == "ray":
        from pytest_editpitfalls.execution.ray.executor import RayExecutor  # Ray is an optional dependency

        return RayExecutor(run, listener)
    return LocalExecutor(run, listener, sharing, walls)
