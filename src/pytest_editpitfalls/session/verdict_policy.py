"""What fails a case and what fails a run: thresholds of suites, gates, and what excuses a case."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from pytest_editpitfalls.cases.case import Kind
from pytest_editpitfalls.comparison.pairing import Comparison
from pytest_editpitfalls.comparison.relative_gates import parse_relative_gate
from pytest_editpitfalls.comparison.run_verdict import failing_gates, gates_judge, reasons_of
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.execution.selected_case import SelectedCase
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.results.comparison_records import ReasonRecord, RelativeGateRecord
from pytest_editpitfalls.results.records import GateRecord, RunResults
from pytest_editpitfalls.suites.discovery import shipped_suites
from pytest_editpitfalls.suites.suite import Suite
from pytest_editpitfalls.verdicts.excuses import JUDGED_BY_GATE
from pytest_editpitfalls.verdicts.thresholds import (
    Gate,
    Threshold,
    ThresholdResult,
    Verdict,
    applying,
    judge,
    parse_gate,
    parse_threshold,
    parse_thresholds,
)

from .baseline_policy import BaselinePolicy

TAKEN = Threshold("es", ">=", 1.0)
"""Every case has to keep this: what an edit breaks cannot be seen where it did not take."""

_WHERE_GATES = "pitfalls_gates or --pitfalls-gate"
_WHERE_THRESHOLDS = "ini key pitfalls_thresholds"


class VerdictPolicy:
    """The thresholds and gates of a run.

    Args:
        suites: the suites of the run by name; more may come while tests are collected.
        knows_all_suites: whether no test module of the user may bring further suites.

    Raises:
        UsageError: a threshold or a gate is wrong.
    """

    def __init__(
        self,
        run: RunConfig,
        suites: Mapping[str, Suite],
        baseline: BaselinePolicy,
        *,
        knows_all_suites: bool,
    ) -> None:
        self._run = run
        self._suites = suites
        self._baseline = baseline
        self._knows_all_suites = knows_all_suites
        self._thresholds: dict[str, tuple[Threshold, ...]] = {}
        self._is_gated: dict[str, bool] = {}
        self.gates = tuple(self._parse_gate(text) for text in run.gates)
        self._ini_thresholds = tuple(_colon_to_dot(text) for text in run.thresholds)
        for text in self._ini_thresholds:
            if not self._may_come(_suite_of(text)):
                parse_gate(text, self._kinds(), where=_WHERE_THRESHOLDS)
        for suite in suites.values():
            self.thresholds(suite)
        if knows_all_suites:
            baseline.gates(self._kinds())

    def thresholds(self, suite: Suite) -> tuple[Threshold, ...]:
        """Return the thresholds of a suite's cases: those of ini where it names the suite, otherwise its own.

        Before them stands `TAKEN`, unless one of them is about ``es`` or the user has switched it off.
        """
        if suite.name not in self._thresholds:
            texts = [text for text in self._ini_thresholds if _suite_of(text) == suite.name]
            if texts:
                kinds = {**self._kinds(), suite.name: suite.kind}
                parsed = tuple(parse_gate(text, kinds, where=_WHERE_THRESHOLDS).threshold for text in texts)
            else:
                parsed = parse_thresholds(suite.thresholds, kind=suite.kind, where=str(suite.source))
            self._thresholds[suite.name] = self._with_taken(parsed)
        return self._thresholds[suite.name]

    def judge(self, suite: Suite, metrics: Mapping[str, float | None], *, changed_nothing: bool) -> Verdict:
        """Hold a case's metrics against its suite's thresholds.

        Args:
            changed_nothing: whether its first edit left the model as it was: then it did not take, whatever ``es`` is.
        """
        return _judged(metrics, self.thresholds(suite), changed_nothing)

    def judge_by(
        self, kind: Kind, metrics: Mapping[str, float | None], changed_nothing: bool, texts: Iterable[str]
    ) -> Verdict:
        """Hold a case's metrics against thresholds of a test of the user's, instead of the suite's.

        Raises:
            UsageError: one cannot be read, or its metric is unknown for this kind.
        """
        parsed = self._with_taken(tuple(parse_threshold(text, kind=kind) for text in texts))
        return _judged(metrics, parsed, changed_nothing)

    def _with_taken(self, thresholds: tuple[Threshold, ...]) -> tuple[Threshold, ...]:
        is_asked = any(threshold.metric == TAKEN.metric for threshold in thresholds)
        return thresholds if is_asked or not self._run.fails_untaken else (TAKEN, *thresholds)

    def excuse(self, case: SelectedCase) -> str | None:
        """Return why a failure of this case is expected; None where it is not.

        A gate judges its suite instead, or the case failed in the baseline.
        """
        return JUDGED_BY_GATE if self.is_gated(case.suite.name, case.case.kind) else self._baseline.excuse(case)

    def is_gated(self, name: str, kind: Kind) -> bool:
        """Return whether some gate judges a suite."""
        if name not in self._is_gated:  # the same for all of a suite's cases
            relative = self._baseline.gates({**self._kinds(), name: kind})
            self._is_gated[name] = gates_judge(name, kind, self.gates, relative)
        return self._is_gated[name]

    def check_relative_gates(self) -> None:
        """Read the gates relative to the baseline when all suites are known; raises `UsageError` for a wrong one."""
        self._baseline.gates(self._kinds())

    def failing(
        self, results: RunResults, part_of: Callable[[str, str, str], str | None]
    ) -> list[GateRecord | RelativeGateRecord]:
        """Return the gates that fail the run, as `failing_gates` says; those that were typed were asked for."""
        typed = {str(gate) for gate in self.gates if any(_same(gate, text) for text in self._run.gates_asked)}
        kinds = {**self._kinds(), **_kinds_of(results)}
        for text in self._run.relative_gates_asked:
            with suppress(UsageError):  # the gate of a suite that never came: nothing was held against it
                typed.add(str(parse_relative_gate(text, kinds)))
        return failing_gates(results, asked=typed, part_of=part_of, is_shard=self._run.shard is not None)

    def reasons(self, results: RunResults, comparison: Comparison) -> list[ReasonRecord]:
        """Return why the run fails besides gates and tests that failed; a failed case is a failed test already."""
        kinds = _kinds_of(results)
        return reasons_of(
            results,
            comparison,
            is_gated=lambda suite: self.is_gated(suite, kinds[suite]),
            inconclusive=self._run.inconclusive,
            is_seen=lambda case: case.outcome != "xfailed",
        )

    def _parse_gate(self, text: str) -> Gate:
        suite = _suite_of(text)
        if self._may_come(suite):
            return Gate(suite, parse_threshold(text.strip()[len(suite) + 1 :], where=_WHERE_GATES))
        return parse_gate(text, self._kinds(), where=_WHERE_GATES)

    def _may_come(self, suite: str) -> bool:
        """Whether a user's own module may bring this suite, which nobody has loaded yet."""
        return not self._knows_all_suites and bool(suite) and suite not in self._kinds()

    def _kinds(self) -> dict[str, Kind]:
        """Return the kind of every suite that is known here: those that ship and those of this run."""
        return {**shipped_suites(), **{name: suite.kind for name, suite in self._suites.items()}}


def _kinds_of(results: RunResults) -> dict[str, Kind]:
    return {suite.name: suite.kind for suite in results.run.suites}


def _judged(metrics: Mapping[str, float | None], thresholds: tuple[Threshold, ...], changed_nothing: bool) -> Verdict:
    """`TAKEN` is left out where nobody can know: a case without the fact that its edit replaces.

    A case that nothing at all can be said of has not passed: its thresholds are not evaluated.
    """
    success = metrics.get(TAKEN.metric)
    known = tuple(
        each for each in applying(metrics, thresholds) if each is not TAKEN or success is not None or changed_nothing
    )
    verdict = judge(metrics, known or thresholds)
    if not changed_nothing or TAKEN not in known:
        return verdict
    failed = ThresholdResult(TAKEN, 0.0, False, TAKEN.bound)
    return Verdict(tuple(failed if each.threshold is TAKEN else each for each in verdict.results), False)


def _same(gate: Gate, text: str) -> bool:
    """Whether ``text`` is how ``gate`` was typed, spaces and the form of the number aside."""
    threshold = text.strip()[len(gate.suite) + 1 :]
    return gate.suite == _suite_of(text) and gate.threshold == parse_threshold(threshold)


def _suite_of(text: str) -> str:
    """Return the suite that a gate names ("reverse.cs_exp >= 1"), or "" where it names none."""
    return re.split(r"[<>=!]", text, maxsplit=1)[0].strip().rpartition(".")[0]


def _colon_to_dot(text: str) -> str:
    """Read ``reverse: cs_exp >= 1`` as ``reverse.cs_exp >= 1``."""
    return re.sub(r"^\s*([^\s:<>=]+)\s*:\s*", r"\1.", text.strip())
