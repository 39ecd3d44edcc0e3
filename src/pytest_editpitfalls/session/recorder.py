"""Collects what items report, in the process that writes results, and makes one document of it."""

from __future__ import annotations

import datetime
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_editpitfalls.cases.case import Kind
    from pytest_editpitfalls.results.records import RunResults

    from .session import RunState

SEVERITY = ("skipped", "passed", "xfailed", "failed", "error")
"""Outcomes, the one that counts last: when several items are about one case, the worst that says something of it."""

Key = tuple[str, str, str, str]


class Recorder:
    """All reports of a run.

    Args:
        state: the run.
        command: the arguments of pytest.
    """

    def __init__(self, state: RunState, command: tuple[str, ...]) -> None:
        self.state = state
        self.command = command
        self.payloads: dict[Key, dict[str, Any]] = {}
        self.engines: dict[tuple[str, str], dict[str, Any]] = {}
        self.suites: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, float] = {}
        self.first_result: dict[str, float] = {}
        self.usage_error: str | None = None
        self.store_problem: str | None = None
        self.started = datetime.datetime.now(datetime.timezone.utc)
        self._clock = time.perf_counter()
        self._results: RunResults | None = None

    def add(self, payload: dict[str, Any]) -> None:
        """Take one item's report."""
        record = payload["record"]
        key: Key = (record["suite"], record["editor"], record["model"], record["id"])
        for stage, seconds in payload["seconds"].items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        if "engine" in payload:
            self.engines[key[1:3]] = payload["engine"]  # the latest: a batch may have been halved
        if "suite" in payload:
            self.suites.setdefault(key[0], payload["suite"])
        self.usage_error = self.usage_error or payload.get("usage_error")
        self.store_problem = payload.get("store_problem") or self.store_problem
        if not self.first_result and record["probes"]:
            self.first_result = {"total": time.perf_counter() - self._clock, **self.seconds}
            if "first_batch" in payload:
                self.first_result["first batch"] = payload["first_batch"]
        known = self.payloads.get(key)
        self.payloads[key] = payload if known is None else _merged(known, payload)

    def ordered(self) -> list[dict[str, Any]]:
        """Return the reports in canonical order: suite, editor and model as asked for, then place in the suite."""
        suites = {name: place for place, name in enumerate([*self.state.suites, *self.suites])}
        editors = {name: place for place, name in enumerate(self.state.run.editors)}
        models = {label: place for place, label in enumerate(self.state.run.labels.values())}

        def place(payload: dict[str, Any]) -> tuple[int, int, int, int]:
            record = payload["record"]
            return (
                suites.get(record["suite"], len(suites)),
                models.get(record["model"], len(models)),
                editors.get(record["editor"], len(editors)),
                payload["index"],
            )

        return sorted(self.payloads.values(), key=place)

    def results(self, exit_status: int | None = None) -> RunResults:
        """Return the document: run, cases, aggregates and gates. Computed once; only the status may change."""
        from pytest_editpitfalls.results.aggregates import aggregate
        from pytest_editpitfalls.results.gates import evaluate_gates
        from pytest_editpitfalls.results.records import CaseRecord, RunResults

        if self._results is None:
            payloads = self.ordered()
            cases = [CaseRecord.model_validate(payload["record"]) for payload in payloads]
            kinds: dict[str, Kind] = {payload["record"]["suite"]: payload["kind"] for payload in payloads}
            run = self.state.run
            aggregates = aggregate(cases, kinds, seed=run.seed, success_floor=run.success_floor)
            gates = evaluate_gates(
                self.state.gates,
                aggregates,
                part_of=lambda found: self.part_of(found.suite, found.editor, found.model),
            )
            self._results = RunResults(
                run=self._run_record(), cases=cases, aggregates=aggregates, gates=gates
            )
        self._results.run.exit_status = exit_status
        return self._results

    def part_of(self, suite: str, editor: str, model: str) -> str | None:
        """Why the run has a part of these cases only (a shard, a limit, ``-k``, ``-x``); None where it has all."""
        if self.state.run.shard is not None:
            return (
                f"shard {self.state.run.shard} has a part of the cases; replay the merged store to gate all"
            )
        ran = sum(key[:3] == (suite, editor, model) for key in self.payloads)
        total = next(facts["total"] for facts in self._suites() if facts["name"] == suite)
        return None if ran >= total else f"{ran} of {total} cases of '{suite}' ran: a gate judges all of them"

    def timings(self) -> dict[str, float]:
        """Return where the time went: stage -> seconds, summed over processes."""
        spent = dict(self.seconds)
        for payload in self.payloads.values():
            if payload["record"]["cached"]:
                continue  # spent by an earlier run
            for stage, seconds in payload["timings"].items():
                spent[stage] = spent.get(stage, 0.0) + seconds
        return spent

    def _run_record(self) -> Any:
        from pytest_editpitfalls.pitfalls import definitions_digest
        from pytest_editpitfalls.results.descriptions import editor_record, model_record
        from pytest_editpitfalls.results.records import RunRecord

        run = self.state.run
        first = next(iter(self.engines.values()), {})
        return RunRecord.model_validate(
            {
                "started": self.started.isoformat(timespec="seconds"),
                "seconds": time.perf_counter() - self._clock,
                "command": list(self.command),
                "seed": run.seed,
                "device": first.get("model", {}).get("device"),
                "dtype": first.get("model", {}).get("dtype"),
                "batch_size": run.batch_size,
                "limit": run.limit,
                "metric_definitions": definitions_digest(suite["kind"] for suite in self._suites()),
                "shard": None if run.shard is None else str(run.shard),
                "replay": run.replay,
                "success_floor": run.success_floor,
                "editors": [
                    editor_record(editor, model, facts) for (editor, model), facts in self.engines.items()
                ],
                "models": [model_record(label, facts) for label, facts in self._models().items()],
                "suites": self._suites(),
                "versions": {**own_versions(), **first.get("versions", {})},
                "timings": self.timings(),
                "first_result": self.first_result,
            }
        )

    def _models(self) -> dict[str, dict[str, Any]]:
        """The first description of each model."""
        models: dict[str, dict[str, Any]] = {}
        for (_, label), facts in self.engines.items():
            models.setdefault(label, facts)
        return models

    def _suites(self) -> list[dict[str, Any]]:
        from .session import suite_facts

        facts = {
            suite.name: suite_facts(suite, self.state.thresholds(suite))
            for suite in self.state.selection.suites
        } | self.suites
        counts = {name: {key[3] for key in self.payloads if key[0] == name} for name in facts}
        return [facts[name] | {"selected": len(counts[name])} for name in facts]


def own_versions() -> dict[str, str]:
    """Return the versions of Python, pytest and this plugin."""
    import platform

    import pytest

    from pytest_editpitfalls import __version__

    return {
        "python": platform.python_version(),
        "pytest": pytest.__version__,
        "pytest-editpitfalls": __version__,
    }


def _merged(known: dict[str, Any], fresh: dict[str, Any]) -> dict[str, Any]:
    """Return one report of two about one case: the scores of the one that has some, the worst outcome of both.

    A test that asks for the case or the edited model alone has no scores; it must not hide those of another.
    """
    full = known if known["record"]["probes"] or not fresh["record"]["probes"] else fresh
    # of two equally bad ones the first by name: the order in which workers report must not matter
    worst = min(known, fresh, key=lambda payload: (-_severity(payload), payload["nodeid"]))
    verdict = {name: worst["record"][name] for name in ("outcome", "reason")}
    return {**full, "nodeid": worst["nodeid"], "record": {**full["record"], **verdict}}


def _severity(payload: dict[str, Any]) -> int:
    return SEVERITY.index(payload["record"]["outcome"])
