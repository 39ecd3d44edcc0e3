"""Collects what items report, in the process that writes results, and makes one document of it."""

from __future__ import annotations

import datetime
import platform
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pytest

import pytest_editpitfalls as package
from pytest_editpitfalls.cases.case import Kind
from pytest_editpitfalls.escaping import encodable
from pytest_editpitfalls.execution.repeatability import Unrepeatable
from pytest_editpitfalls.options.editor_labels import without_seed
from pytest_editpitfalls.pitfalls import definitions_digest
from pytest_editpitfalls.results.aggregates import (
    aggregate,
    aggregate_held,
    aggregate_seeds,
    aggregate_strengths,
    mark_unrepeatable,
)
from pytest_editpitfalls.results.build import editor_record, model_record, suite_facts
from pytest_editpitfalls.results.gates import evaluate_gates
from pytest_editpitfalls.results.records import PropertyRecord, RunResults
from pytest_editpitfalls.results.rerun_record import RerunRecord
from pytest_editpitfalls.results.run_records import RunRecord

from .item_report import ItemReport
from .properties import property_names
from .rerun import rerun_records
from .session import PitfallsSession

SEVERITY = ("skipped", "passed", "xfailed", "failed", "error")
"""Outcomes, the one that counts last: when several items are about one case, the worst that says something of it."""

Key = tuple[str, str, str, str]
"""Suite, editor, model and id of a case."""


class Recorder:
    """All reports of a run."""

    def __init__(self, config: pytest.Config, session: PitfallsSession) -> None:
        self.config = config
        self.session = session
        self.reports: dict[Key, ItemReport] = {}
        self.engines: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.suites: dict[str, Mapping[str, Any]] = {}
        self.seconds: dict[str, float] = {}
        self.first_result: dict[str, float] = {}
        self.usage_error: str | None = None
        self.store_problem: str | None = None
        self.unrepeatable: list[Unrepeatable] = []
        self.properties: dict[tuple[str, str, str], PropertyRecord] = {}
        self.started = datetime.datetime.now(datetime.timezone.utc)
        self._clock = time.perf_counter()
        self._results: RunResults | None = None
        self.computed = 0

    def add(self, report: ItemReport, *, counts: bool = True) -> None:
        """Take one item's report; one that does not ``count`` only says what the run is made of and what it took."""
        key = report.record.key
        for stage, seconds in report.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        if report.engine is not None:
            self.engines[key[1:3]] = report.engine  # the latest: a batch may have been halved
        if report.suite is not None:
            self.suites.setdefault(key[0], report.suite)
        self.usage_error = self.usage_error or report.usage_error
        self.store_problem = report.store_problem or self.store_problem
        if not self.first_result and report.record.probes:
            self.first_result = {"total": time.perf_counter() - self._clock, **self.seconds}
            if report.first_batch is not None:
                self.first_result["first batch"] = report.first_batch
        if not counts:
            return
        known = self.reports.get(key)
        before = known is not None and not known.record.cached
        self.reports[key] = kept = report if known is None else _merged(known, report)
        self.computed += (not kept.record.cached) - before
        kept.record.pack()

    def add_property(self, record: PropertyRecord, usage_error: str | None) -> None:
        """Take what was found of one property; the latest, where an item is run again."""
        self.usage_error = self.usage_error or usage_error
        self.properties[record.model, record.editor, record.property] = record

    def results(self) -> RunResults:
        """Return the document: run, cases, aggregates and gates. The same object every time."""
        if self._results is None:
            reports, run = self._ordered(), self.session.run
            cases = [report.record for report in reports]
            kinds: dict[str, Kind] = {report.record.suite: report.kind for report in reports}
            aggregates = aggregate(cases, kinds, success_floor=run.success_floor)
            by_seed = aggregate_seeds(cases, kinds, success_floor=run.success_floor)
            by_strength = aggregate_strengths(cases, kinds, success_floor=run.success_floor)
            for each in self.unrepeatable:
                mark_unrepeatable([*aggregates, *by_seed, *by_strength], each.editor, each.model, each.reason)
            gates = evaluate_gates(
                self.session.verdicts.gates,
                aggregates,
                part_of=lambda found: self.part_of(found.suite, found.editor, found.model),
            )
            self._results = RunResults(
                run=self._run_record(),
                cases=cases,
                aggregates=aggregates,
                held_aggregates=aggregate_held(cases, kinds, success_floor=run.success_floor),
                by_seed=by_seed,
                by_strength=by_strength,
                gates=gates,
                properties=self._ordered_properties(),
            )
        return self._results

    def part_of(self, suite: str, editor: str, model: str) -> str | None:
        """Why the run has a part of these cases only (a shard, a limit, ``-k``, ``-x``); None where it has all.

        Of several seeds, that one which has the fewest decides.
        """
        if self.session.run.shard is not None:
            return f"shard {self.session.run.shard} has a part of the cases; replay the merged store to gate all"
        labels = [label for label in self.session.run.editors if without_seed(label) == editor] or [editor]
        ran = min(sum(key[:3] == (suite, label, model) for key in self.reports) for label in labels)
        total = next(facts["total"] for facts in self._suites() if facts["name"] == suite)
        return None if ran >= total else f"{ran} of {total} cases of '{suite}' ran: a gate judges all of them"

    def _ordered_properties(self) -> list[PropertyRecord]:
        """Return them by model, editor and property, each in the run's order, whichever worker was first."""
        run = self.session.run
        models, editors = list(run.labels.values()), list(run.editors)
        places = {name: place for place, name in enumerate(property_names())} if self.properties else {}
        return sorted(
            self.properties.values(),
            key=lambda each: (models.index(each.model), editors.index(each.editor), places[each.property]),
        )

    def _ordered(self) -> list[ItemReport]:
        """Return the reports in canonical order: suite, model and editor as asked for, then place in the suite."""
        suites = {name: place for place, name in enumerate([*self.session.suites, *self.suites])}
        editors = {name: place for place, name in enumerate(self.session.run.editors)}
        models = {label: place for place, label in enumerate(self.session.run.labels.values())}

        def place(report: ItemReport) -> tuple[int, int, int, int]:
            record = report.record
            return (
                suites.get(record.suite, len(suites)),
                models.get(record.model, len(models)),
                editors.get(record.editor, len(editors)),
                report.index,
            )

        return sorted(self.reports.values(), key=place)

    def _timings(self) -> dict[str, float]:
        """Return where the time went: stage -> seconds, summed over processes."""
        spent = dict(self.seconds)
        for report in self.reports.values():
            if report.record.cached:
                continue  # spent by an earlier run
            for stage, seconds in report.timings.items():
                spent[stage] = spent.get(stage, 0.0) + seconds
        return spent

    def _run_record(self) -> RunRecord:
        run = self.session.run
        first = next(iter(self.engines.values()), {})
        return RunRecord.model_validate(
            {
                "started": self.started.isoformat(timespec="seconds"),
                "seconds": time.perf_counter() - self._clock,
                "command": [encodable(word, "utf-8") for word in self.config.invocation_params.args],
                "reruns": self._reruns(),
                "seed": self._first_seed(),
                "seeds": run.seeds,
                "device": first.get("model", {}).get("device"),
                "dtype": first.get("model", {}).get("dtype"),
                "batch_size": run.batch_size,
                "limit": run.limit,
                "metric_definitions": definitions_digest(suite["kind"] for suite in self._suites()),
                "shard": None if run.shard is None else str(run.shard),
                "replay": run.replay,
                "success_floor": run.success_floor,
                "editors": [editor_record(editor, model, facts) for (editor, model), facts in self.engines.items()],
                "models": [model_record(label, facts) for label, facts in self._models().items()],
                "suites": self._suites(),
                "versions": {**own_versions(), **first.get("versions", {})},
                "timings": self._timings(),
                "first_result": self.first_result,
            }
        )

    def _reruns(self) -> list[RerunRecord]:
        suites = {suite.name: suite for suite in self.session.selection.suites}
        return rerun_records(self._ordered(), suites, self.config, self.session.run)

    def _first_seed(self) -> int:
        """Return what the results were computed under: a replay takes what is stored, whatever the run's seed is."""
        seeds = [facts["seed"] for facts in self.engines.values() if facts.get("seed") is not None]
        return min(seeds, default=self.session.run.seed)

    def _models(self) -> dict[str, Mapping[str, Any]]:
        """Return the first description of each model."""
        models: dict[str, Mapping[str, Any]] = {}
        for (_, label), facts in self.engines.items():
            models.setdefault(label, facts)
        return models

    def _suites(self) -> list[dict[str, Any]]:
        facts = {**self._selected_suites, **self.suites}
        counts = {name: {key[3] for key in self.reports if key[0] == name} for name in facts}
        return [{**facts[name], "selected": len(counts[name])} for name in facts]

    @cached_property
    def _selected_suites(self) -> dict[str, Mapping[str, Any]]:
        judge, thresholds = self.session.judge, self.session.verdicts.thresholds
        return {
            suite.name: suite_facts(suite, thresholds(suite), None if judge is None else judge.of_suite(suite))
            for suite in self.session.selection.suites
        }


def own_versions() -> dict[str, str]:
    """Return the versions of Python, pytest and this plugin."""
    return {
        "python": platform.python_version(),
        "pytest": pytest.__version__,
        "pytest-editpitfalls": package.__version__,  # looked up when it is asked for
    }


def _merged(known: ItemReport, fresh: ItemReport) -> ItemReport:
    """Return one report of two about one case: the scores of the one that has some, the worst outcome of both.

    A test that asks for the case or the edited model alone has no scores; it must not hide those of another.
    """
    full = known if known.record.probes or not fresh.record.probes else fresh
    # of two equally bad ones the first by name: the order in which workers report must not matter
    worst = min(known, fresh, key=lambda report: (-SEVERITY.index(report.record.outcome), report.nodeid))
    full.set_outcome(worst.record.outcome, worst.record.reason)
    full.nodeid, full.is_own_test = worst.nodeid, worst.is_own_test
    return full
