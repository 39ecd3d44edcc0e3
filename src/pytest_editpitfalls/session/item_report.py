"""What each item reports: made where its test runs, put on pytest's own report, and read where results are written."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_editpitfalls.cases.case import Kind
from pytest_editpitfalls.errors import PitfallsError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.execution.case_runner import CaseRunner
from pytest_editpitfalls.execution.executor import Executor
from pytest_editpitfalls.execution.judging import Judge
from pytest_editpitfalls.execution.result_cache import ResultCache
from pytest_editpitfalls.execution.selected_case import SelectedCase
from pytest_editpitfalls.program import CaseScores
from pytest_editpitfalls.reports.adapters import Adapter, CaseOfItem, story_of
from pytest_editpitfalls.reports.junit import PREFIX, case_properties
from pytest_editpitfalls.results.build import case_record, suite_facts
from pytest_editpitfalls.results.records import CaseRecord, Outcome
from pytest_editpitfalls.suites.suite import Suite
from pytest_editpitfalls.verdicts.thresholds import Verdict

from .modules import is_own_test
from .verdict_policy import VerdictPolicy


@dataclass(slots=True)
class ItemReport:
    """A case's record, and what only the summary needs.

    Attributes:
        index: the case's place in its suite.
        is_own_test: whether the item is a test of the user's own, and no item of a suite.
        timings: the case's share of its batch's time: stage -> seconds.
        seconds: spent outside of batches since the last report of this process: stage -> seconds.
        engine: the engine's description of editor and model, where it is new or has changed.
        first_batch: seconds that this process's first batch took, once there was one.
        store_problem: why results of this process are not kept in the store.
        suite: `suite_facts`, where the other processes may not know the suite.
        usage_error: why the model or the editor cannot be used at all.
    """

    record: CaseRecord
    kind: Kind
    index: int
    nodeid: str
    is_own_test: bool = False
    timings: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    engine: Mapping[str, Any] | None = None
    first_batch: float | None = None
    store_problem: str | None = None
    suite: Mapping[str, Any] | None = None
    usage_error: str | None = None

    def set_outcome(self, outcome: Outcome, reason: str | None) -> None:
        """Set the outcome of the case, and the reason for it."""
        self.record.outcome = outcome
        self.record.reason = reason

    def to_wire(self) -> dict[str, Any]:
        """Return it as built-in types, for the trip over pytest's own report.

        A string or number of a library's own type (torch's version is one) would abort a run with pytest-xdist.
        """
        facts = {name: value for name in _FACTS if (value := getattr(self, name)) is not None}
        wire: dict[str, Any] = json.loads(json.dumps(facts, default=str))
        wire["record"] = self.record.model_dump(mode="json")
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> ItemReport:
        """Read what `to_wire` returned; this is where the record is validated."""
        return cls(**{**wire, "record": CaseRecord.model_validate(wire["record"])})

    @classmethod
    def given_up(cls, facts: Mapping[str, Any], nodeid: str, reason: str) -> ItemReport:
        """Return the report of an item that no worker survives, by its `case_facts`: its case is an error."""
        named = {name: facts[name] for name in ("id", "source_index", "suite", "editor", "model")}
        record = CaseRecord(**named, outcome="error", reason=reason)
        return cls(record, facts["kind"], facts["index"], nodeid, facts["is_own_test"])


_FACTS = tuple(each.name for each in fields(ItemReport) if each.name != "record")


def case_facts(item: pytest.Item, case: SelectedCase) -> dict[str, Any]:
    """Return what `ItemReport.given_up` has to know of a case, as plain JSON types: it stands in the workers' plan."""
    return {
        "is_own_test": is_own_test(item),
        "suite": case.suite.name,
        "kind": case.case.kind,
        "editor": case.editor,
        "model": case.model,
        "id": case.case.id,
        "source_index": case.case.source_index,
        "index": case.index,
    }


ITEM_REPORT: pytest.StashKey[ItemReport] = pytest.StashKey()
"""The report of an item so far."""


class ItemReporter:
    """Reports the items of one process.

    Args:
        known_suites: names of the suites that every process of the run knows.
        with_junit: whether pytest writes a JUnit file.
        adapters: those of other plugins' reports that this run writes.
        judge: what scores what the model says; None: words are compared.
    """

    def __init__(
        self,
        runner: CaseRunner,
        executor: Executor,
        cache: ResultCache,
        verdicts: VerdictPolicy,
        known_suites: Collection[str],
        *,
        with_junit: bool,
        adapters: Sequence[Adapter] = (),
        judge: Judge | None = None,
    ) -> None:
        self._runner = runner
        self._executor = executor
        self._cache = cache
        self._verdicts = verdicts
        self._known_suites = known_suites
        self._with_junit = with_junit
        self._adapters = adapters
        self._judge = judge
        self._described: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._attached: tuple[Mapping[str, Any], ItemReport] | None = None

    def start(
        self,
        item: pytest.Item,
        case: SelectedCase,
        scores: CaseScores,
        metrics: Mapping[str, float | None] | None = None,
        verdict: Verdict | None = None,
    ) -> None:
        """Begin the report of an item whose outcome is not known yet; there is no verdict when nothing was judged."""
        description = self._description(case)
        record = case_record(
            case.case,
            scores,
            editor=case.editor,
            model=case.model,
            outcome="error",
            verdict=verdict,
            metrics=metrics,
            cached=self._runner.is_cached(case),
            seed=case.seed if description is None else description.get("seed", case.seed),
        )
        first_batch = self._runner.first_batch
        is_known = case.suite.name in self._known_suites
        item.stash[ITEM_REPORT] = ItemReport(
            record,
            case.case.kind,
            case.index,
            item.nodeid,
            is_own_test(item),
            timings={stage: float(seconds) for stage, seconds in scores.timings.items()},
            seconds=self._executor.take_seconds(),
            engine=self._if_new(case, description),
            first_batch=None if first_batch is None else float(first_batch),
            store_problem=self._cache.problem,
            suite=None if is_known else self._suite_facts(case.suite),
        )

    def attach(
        self,
        item: pytest.Item,
        case: SelectedCase,
        report: pytest.TestReport,
        call: pytest.CallInfo[None],
        usage_error: str | None,
    ) -> None:
        """Attach the item's report to pytest's report that decides: the call's, or that of a setup that failed.

        A teardown that fails is attached as well: it turns the outcome into an error.
        """
        decides = report.when == "call" or (report.when == "setup" and not report.passed)
        if not decides and not (report.when == "teardown" and report.failed):
            return
        if ITEM_REPORT not in item.stash:  # its setup failed before there were scores
            self.start(item, case, CaseScores(case.case.id))
        ours = item.stash[ITEM_REPORT]
        outcome, reason = _outcome_of(report, call), ours.record.reason
        if outcome != "passed":
            reason = reason or _reason_of(report, call)
        ours.set_outcome(outcome, reason)
        if usage_error is not None and outcome == "error":
            ours.usage_error = usage_error
        if outcome == "skipped" and _is_skipped_by_us(call):
            # point at the test, not at the line of this package that skipped it
            path, line, _ = item.location
            report.longrepr = (path, (line or 0) + 1, f"Skipped: {visible(reason)}")
        wire = report.pitfall = ours.to_wire()  # type: ignore[attr-defined]
        self._attached = wire, replace(ours)
        if self._with_junit:
            theirs = [each for each in item.user_properties if not each[0].startswith(PREFIX)]  # no earlier attempt's
            item.user_properties[:] = [*theirs, *case_properties(ours.record)]
        if self._adapters:
            told = CaseOfItem(item, report, ours.record, story_of(ours.record, ours.kind))
            for adapter in self._adapters:
                adapter.add(told)
        ours.seconds = {}  # a later report of the item must not count them again

    def read(self, wire: Mapping[str, Any]) -> ItemReport:
        """Read what a report carries; what this process has just attached needs no validation."""
        if self._attached is not None and self._attached[0] is wire:
            return self._attached[1]
        return ItemReport.from_wire(wire)

    def forget(self, item: pytest.Item) -> None:
        """The item is over."""
        self._attached = None
        if ITEM_REPORT in item.stash:
            del item.stash[ITEM_REPORT]

    def _suite_facts(self, suite: Suite) -> dict[str, Any]:
        judge = None if self._judge is None else self._judge.of_suite(suite)
        return suite_facts(suite, self._verdicts.thresholds(suite), judge)

    def _description(self, case: SelectedCase) -> Mapping[str, Any] | None:
        """Return the description of editor and model; one that fails must not cost the record."""
        try:
            return self._runner.description(case)
        except Exception:
            return None

    def _if_new(self, case: SelectedCase, description: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Return the description where it is new, or the batch size has changed since.

        Also in a run of errors and skips alone.
        """
        pair = (case.editor, case.model)
        known = self._described.get(pair)
        if description is None or description is known:  # as for all cases of a batch but the first
            return None
        self._described[pair] = description
        # memory may change the batch on the way
        return description if known is None or known.get("batch") != description.get("batch") else None


def _outcome_of(report: pytest.TestReport, call: pytest.CallInfo[None]) -> Outcome:
    if report.skipped:
        return "xfailed" if hasattr(report, "wasxfail") else "skipped"
    if report.passed:
        return "passed"
    is_ours = call.excinfo is not None and isinstance(call.excinfo.value, PitfallsError)
    return "failed" if report.when == "call" and not is_ours else "error"


def _reason_of(report: pytest.TestReport, call: pytest.CallInfo[None]) -> str | None:
    if hasattr(report, "wasxfail"):
        return str(report.wasxfail).removeprefix("reason: ")
    if call.excinfo is None:
        return None
    value = call.excinfo.value
    text = str(getattr(value, "msg", None) or value) or type(value).__name__
    return text.splitlines()[0]


def _is_skipped_by_us(call: pytest.CallInfo[None]) -> bool:
    """Whether this package skipped the test (its frame calls `pytest.skip`, which is the last one)."""
    if call.excinfo is None or len(call.excinfo.traceback) < 2:
        return False
    return Path(call.excinfo.traceback[-2].path).is_relative_to(Path(__file__).parents[1])
