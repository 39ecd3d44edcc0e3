"""The state of one run with an editor: what was asked, the suites, the engine and the verdicts of its cases."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import pytest

from pytest_editpitfalls.errors import CaseError, UsageError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.execution.case_runner import Runner
from pytest_editpitfalls.execution.executor import Watcher
from pytest_editpitfalls.execution.result_cache import StoredScores
from pytest_editpitfalls.execution.xdist.workers import WorkerSetup
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.session.names import PAYLOAD
from pytest_editpitfalls.session.parametrize import CaseParam, Parametrizer
from pytest_editpitfalls.session.selection import Selection, select

from .baseline_policy import AgainstBaseline
from .outcome import XFAIL_REASON

if TYPE_CHECKING:
    from pytest_editpitfalls.cases.case import Kind
    from pytest_editpitfalls.execution.xdist.exchange import Exchange
    from pytest_editpitfalls.results.records import GateRecord, RelativeGateRecord, RunResults
    from pytest_editpitfalls.suites.suite import Suite
    from pytest_editpitfalls.verdicts.thresholds import Gate, Threshold

    from .outcome import Outcome


class RunState:
    """One run with an editor. Built before collection, in every process of the run.

    Args:
        config: pytest's configuration.
        run: what the user asked for.
        watcher: who is told about progress.
        exchange: what this process shares with the controller, in a worker.

    Raises:
        UsageError: an unknown suite, a broken suite file, a wrong gate or threshold.
    """

    def __init__(
        self, config: pytest.Config, run: RunConfig, watcher: Watcher, exchange: Exchange | None = None
    ) -> None:
        self.run = run
        self.run_id = getattr(config, "workerinput", {}).get("testrunuid") or uuid.uuid4().hex
        self.is_distributed = config.getoption("dist", "no") != "no" and bool(config.getoption("tx", None))
        self.selection: Selection = select(config, run)
        self.suites: dict[str, Suite] = {suite.name: suite for suite in self.selection.suites}
        self.parametrizer = Parametrizer(run, self.suites)
        worker = WorkerSetup.of(getattr(config, "workerinput", {}))
        sharing = 1 if worker is None else worker.sharing
        self.runner = Runner(run, watcher, StoredScores(run, self.run_id), exchange, sharing)
        self.against = AgainstBaseline(run, config.rootpath)
        self.usage_error: str | None = None
        self._described: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._thresholds: dict[str, tuple[Threshold, ...]] = {}
        self._gated: dict[str, bool] = {}
        self.gates = self._parse_gates()
        self._ini_thresholds = self._parse_ini_thresholds()
        for suite in self.suites.values():
            self.thresholds(suite)
        if not self.selection.paths:  # a user's own module may bring a suite that nobody has loaded yet
            self.against.gates(self.kinds())

    def excuse(self, param: CaseParam) -> str | None:
        """Why a failure of this case is an expected one: a gate judges its suite, or it failed in the baseline."""
        name, kind = param.suite.name, param.case.kind
        if name not in self._gated:  # the same for all of a suite's cases
            relative = self.against.gates({**self.kinds(), name: kind})
            self._gated[name] = any(gate.suite == name for gate in self.gates) or any(
                gate.judges(name, kind) for gate in relative
            )
        if self._gated[name]:
            return XFAIL_REASON
        return self.against.excuse(param)

    def kinds(self) -> dict[str, Kind]:
        """Return the kind of every suite that is known here: those that ship and those of this run."""
        from pytest_editpitfalls.suites.discovery import shipped_suites

        return {**shipped_suites(), **{name: suite.kind for name, suite in self.suites.items()}}

    def thresholds(self, suite: Suite) -> tuple[Threshold, ...]:
        """Return the thresholds of a suite's cases: those of ini where it names the suite, else the suite's own."""
        if suite.name not in self._thresholds:
            from pytest_editpitfalls.verdicts.thresholds import parse_gate, parse_thresholds

            kinds = {**self.kinds(), suite.name: suite.kind}
            texts = [text for text in self._ini_thresholds if _suite_of(text) == suite.name]
            if texts:
                parsed = tuple(parse_gate(text, kinds, where=_INI_THRESHOLDS).threshold for text in texts)
            else:
                parsed = parse_thresholds(suite.thresholds, kind=suite.kind, where=str(suite.source))
            self._thresholds[suite.name] = parsed
        return self._thresholds[suite.name]

    def outcome(self, item: pytest.Item, param: CaseParam) -> Outcome:
        """Return the outcome of an item's case, running its batch when it is the first to ask.

        Raises:
            CaseError: the editor or the model failed on this case.
            UsageError: the model or the editor cannot be used at all; pytest stops after this item.
        """
        from pytest_editpitfalls.reports.rerun import rerun_command
        from pytest_editpitfalls.results.build import case_record
        from pytest_editpitfalls.verdicts.thresholds import judge

        from .outcome import Outcome

        try:
            scores = self.runner.scores(param)
            if self.against.baseline is not None:
                self.against.check_model(param.model, self.runner.describe(param)["model"].get("fingerprint"))
        except UsageError as error:
            self.usage_error = str(error)
            item.session.shouldstop = self.usage_error.splitlines()[0]
            raise
        verdict = None
        metrics = self.runner.metrics(param)
        if scores.error is None and scores.skipped is None:
            verdict = judge(metrics, self.thresholds(param.suite))
        record = case_record(
            param.case,
            scores,
            editor=param.editor,
            model=param.model,
            outcome="error",
            verdict=verdict,
            metrics=metrics,
            cached=self.runner.is_cached(param),
        )
        self._report(item, param, record.model_dump(mode="json"), scores.timings)
        if scores.error is not None:
            raise CaseError(scores.error, where=f"{param.suite.name} case {param.case.id}")
        if scores.skipped is not None:
            pytest.skip(visible(scores.skipped, keep_newlines=True))
        assert verdict is not None
        return Outcome(
            case=param.case,
            editor=param.editor,
            model=param.model,
            metrics=metrics,
            probes=scores.probes,
            verdict=verdict,
            held=scores.held,
            notes=scores.notes,
            seconds=scores.seconds,
            timings=scores.timings,
            excuse=self.excuse(param),
            make_rerun=partial(rerun_command, item, param, self.run),
        )

    def blank(self, item: pytest.Item, param: CaseParam) -> None:
        """Make a report for an item that never came to have scores (its setup failed before)."""
        from pytest_editpitfalls.program import CaseScores
        from pytest_editpitfalls.results.build import case_record

        record = case_record(
            param.case,
            CaseScores(param.case.id),
            editor=param.editor,
            model=param.model,
            outcome="error",
        )
        self._report(item, param, record.model_dump(mode="json"), {})

    def _report(
        self, item: pytest.Item, param: CaseParam, record: dict[str, Any], timings: Mapping[str, float]
    ) -> None:
        payload: dict[str, Any] = {
            "record": record,
            "kind": param.case.kind,
            "index": param.index,
            "nodeid": item.nodeid,
            "timings": {stage: float(seconds) for stage, seconds in timings.items()},
            "seconds": self.runner.engine.take_seconds(),
        }
        if (described := self._news_of_engine(param)) is not None:
            payload["engine"] = described
        if self.runner.first_batch is not None:
            payload["first_batch"] = float(self.runner.first_batch)
        if (problem := self.runner.stored.problem) is not None:
            payload["store_problem"] = problem
        if param.suite.name not in self.selected_names:
            payload["suite"] = suite_facts(param.suite, self.thresholds(param.suite))
        item.stash[PAYLOAD] = payload

    def _news_of_engine(self, param: CaseParam) -> Mapping[str, Any] | None:
        """The description of editor and model, where it has not been told or the batch is another one since.

        Also in a run of errors and skips alone; a description that fails must not cost the record.
        """
        if not self.runner.is_described(param):
            return None
        try:
            described = self.runner.describe(param)
        except Exception:
            return None
        pair = (param.editor, param.model)
        told = self._described.get(pair)
        if described is told:  # as for all cases of a batch but the first
            return None
        self._described[pair] = described
        # memory may change the batch on the way
        return described if told is None or told.get("batch") != described.get("batch") else None

    @cached_property
    def selected_names(self) -> frozenset[str]:
        """Names of the suites that every process of the run knows from the command line or ini."""
        return frozenset(suite.name for suite in self.selection.suites)

    def _parse_gates(self) -> tuple[Gate, ...]:
        from pytest_editpitfalls.verdicts.thresholds import Gate, parse_gate, parse_threshold

        kinds = self.kinds()
        gates: list[Gate] = []
        where = "pitfalls_gates or --pitfalls-gate"
        for text in self.run.gates:
            suite = _suite_of(text)
            if self.selection.paths and suite and suite not in kinds:
                # a user's own module may bring a suite that nobody has loaded yet
                gates.append(Gate(suite, parse_threshold(text.strip()[len(suite) + 1 :], where=where)))
            else:
                gates.append(parse_gate(text, kinds, where=where))
        return tuple(gates)

    def gates_fail(self, results: RunResults, part_of: Callable[[str, str, str], str | None]) -> bool:
        """Whether the gates fail the run.

        One that fell does, and one that could not be evaluated although all its cases ran. A gate of ini whose suite
        was not run, or run in part, does not; one that was typed for this very run does, but for a shard's.

        Args:
            results: the run.
            part_of: as `Recorder.part_of`.
        """
        asked = {str(gate) for gate in self.gates if any(_same(gate, text) for text in self.run.gates_asked)}
        asked |= set(self.run.relative_gates_asked)

        def fails(gate: GateRecord | RelativeGateRecord) -> bool:
            if gate.passed is not None:
                return not gate.passed
            if isinstance(gate, RelativeGateRecord) and gate.verdict == "inconclusive":
                return False
            if gate.editor is not None and gate.model is not None and gate.suite != "*":
                whole = part_of(gate.suite, gate.editor, gate.model) is None
                return whole or (gate.gate in asked and self.run.shard is None)
            return gate.gate in asked and self.run.shard is None

        from pytest_editpitfalls.results.records import RelativeGateRecord

        judged: list[GateRecord | RelativeGateRecord] = [*results.gates, *results.relative_gates]
        return any(fails(gate) for gate in judged)

    def _parse_ini_thresholds(self) -> tuple[str, ...]:
        from pytest_editpitfalls.verdicts.thresholds import parse_gate

        texts = tuple(_colon_to_dot(text) for text in self.run.thresholds)
        kinds = self.kinds()
        for text in texts:
            if not (self.selection.paths and _suite_of(text) and _suite_of(text) not in kinds):
                parse_gate(text, kinds, where=_INI_THRESHOLDS)
        return texts


def _same(gate: Gate, text: str) -> bool:
    """Whether ``text`` is how ``gate`` was typed, spaces and the form of the number aside."""
    from pytest_editpitfalls.verdicts.thresholds import parse_threshold

    return gate.suite == _suite_of(text) and gate.threshold == parse_threshold(
        text.strip()[len(gate.suite) + 1 :]
    )


_INI_THRESHOLDS = "ini key pitfalls_thresholds"


def suite_facts(suite: Suite, thresholds: Iterable[Threshold]) -> dict[str, Any]:
    """Return what the results say about a suite, as plain JSON types (the number selected is added later)."""
    return {
        "name": suite.name,
        "kind": suite.kind,
        "format": suite.format,
        "source": str(suite.source),
        "digest": suite.digest,
        "total": len(suite.cases),
        "thresholds": [str(threshold) for threshold in thresholds],
        "license": suite.license,
        "provenance": suite.provenance,
    }


def _suite_of(text: str) -> str:
    """Return the suite that a gate names ("reverse.cs_exp >= 1"), or "" where it names none."""
    return re.split(r"[<>=!]", text, maxsplit=1)[0].strip().rpartition(".")[0]


def _colon_to_dot(text: str) -> str:
    """Read ``reverse: cs_exp >= 1`` as ``reverse.cs_exp >= 1``."""
    return re.sub(r"^\s*([^\s:<>=]+)\s*:\s*", r"\1.", text.strip())
