"""What became of one case: its metrics, its verdict, and why it failed, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.metrics.metric import fact_probabilities
from pytest_editpitfalls.program import ProbeScore
from pytest_editpitfalls.reports.explanation import explain
from pytest_editpitfalls.verdicts.thresholds import Verdict, judge, parse_threshold


class PitfallFailed(AssertionError):
    """A case missed its thresholds. Reported by its message alone, without a traceback."""

    # pytest shows the module of an exception before its message; ours says enough
    __module__ = "builtins"


@dataclass(frozen=True)
class Outcome:
    """The value of the fixture ``pitfall_outcome``.

    Attributes:
        editor: label of the editor ("memit", "memit+mle").
        model: label of the model.
        metrics: metric name -> value as a fraction, None where it is unknown.
        probes: probabilities by fact and state, rewrite prompt first.
        verdict: whether each threshold passed.
        held: whether the model held the facts that were edited; None when nothing was asked.
        held_parts: the same for each of these facts by its name ("edit1", "tied").
        notes: the editor's remarks ("tiny divisor at edit 2").
        seconds: the case's share of the time of its batch.
        excuse: why a failing case is an expected failure (a gate judges the suite, or it failed in the baseline);
            None where it is not.
        judge_by: holds the metrics against other thresholds.
        make_rerun: makes the command that runs this item again.
    """

    case: Case
    editor: str
    model: str
    metrics: dict[str, float | None]
    probes: tuple[ProbeScore, ...]
    verdict: Verdict
    held: bool | None = None
    held_parts: dict[str, bool | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    excuse: str | None = None
    judge_by: Callable[[tuple[str, ...]], Verdict] | None = field(default=None, repr=False)
    make_rerun: Callable[[], str] = field(default=str, repr=False)
    timings: dict[str, float] = field(default_factory=dict, repr=False)

    @property
    def passed(self) -> bool:
        """Whether all thresholds passed, and all could be evaluated."""
        return self.verdict.passed is True

    @property
    def rerun(self) -> str:
        """The command that runs this item again."""
        return self.make_rerun()

    def probability(self, fact: str, state: str) -> float | None:
        """Return the mean probability of a fact over its prompts in one state, or None when it was not asked."""
        return fact_probabilities(self.probes).get((fact, state))

    def check(self, *thresholds: str) -> None:
        """Fail the test, with an explanation, when a threshold failed.

        Args:
            thresholds: those to judge by instead of the suite's, for instance ``"cs_exp >= 1"``. A case whose own edit
                did not take fails all the same, unless one of them is about ``es``.

        Raises:
            PitfallFailed: a threshold failed and nothing excuses the case.
            UsageError: a threshold cannot be read or its metric is unknown for this kind of case.
        """
        verdict = self.judge(*thresholds) if thresholds else self.verdict
        if verdict.passed:
            return
        if not verdict.failed:
            pytest.skip("; ".join(str(result) for result in verdict.not_evaluated))
        fallen = "; ".join(str(result) for result in verdict.failed)
        if self.excuse is not None:
            pytest.xfail(f"{self.excuse}: {fallen}")  # with --runxfail this returns
        raise PitfallFailed(self.explain(verdict))

    def judge(self, *thresholds: str) -> Verdict:
        """Judge the metrics by other thresholds and return the verdict."""
        if self.judge_by is not None:
            return self.judge_by(thresholds)
        parsed = [parse_threshold(text, kind=self.case.kind) for text in thresholds]
        return judge(self.metrics, parsed)

    def explain(self, verdict: Verdict | None = None) -> str:
        """Return what was edited, the probabilities by state, what failed and by how much, and how to rerun it."""
        return explain(self, verdict or self.verdict)
