"""A run beside a baseline, in its result file: relative gates, what became of the cases, and why the run fails."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from .record import Number, Record


class RelativeGateRecord(Record):
    """A gate on how much worse a metric may get than in the baseline, held for one editor on one model."""

    gate: str = Field(description='as it was asked: "reverse.cs_exp:2pp"')
    suite: str = Field(description='"*" when the gate names all suites and none was run')
    editor: str | None = None
    model: str | None = None
    metric: str
    verdict: Literal["pass", "fail", "inconclusive", "not_evaluated"]
    passed: bool | None = Field(
        description="false for fail, and for inconclusive with `--pitfalls-inconclusive=fail`; null: neither shown"
    )
    reason: str | None = None
    margin: Number = Field(default=None, description="the drop that is allowed, in the metric's own unit")
    base: Number = Field(default=None, description="mean over the paired cases in the baseline")
    now: Number = Field(default=None, description="mean over the same cases in this run")
    drop: Number = Field(default=None, description="how much worse it got; negative: better")
    upper: Number = Field(default=None, description="one-sided 95 % upper bound of the drop")
    p: Number = Field(default=None, description='p-value of "the drop exceeds the margin"')
    p_holm: Number = Field(default=None, description="the same, adjusted for all relative gates of the run")
    n: int = Field(default=0, ge=0, description="paired cases with a value on both sides")
    seeds: list[int] = Field(
        default_factory=list,
        description="seeds that both sides have, whose means are compared; empty: labels name none",
    )
    clusters: int = Field(default=0, ge=0, description="subjects of edit 1 among them")
    worse: int = Field(default=0, ge=0, description="cases whose value got worse")
    better: int = Field(default=0, ge=0, description="cases whose value got better")
    mcnemar_p: Number = Field(
        default=None,
        description="exact McNemar test of a 0/1 metric, two-sided; a description, not the verdict",
    )
    method: str | None = Field(default=None, description="how bound and p-value were computed")
    detectable: Number = Field(
        default=None, description="smallest true drop that is found with 80 % power; null: none is"
    )
    reliable: bool | None = Field(default=None, description="as in its aggregate; it does not change the verdict")


class CaseKeyRecord(Record):
    """Which case."""

    suite: str
    editor: str
    model: str
    id: str


class HyperParameterDifference(Record):
    """A hyper-parameter of an editor that is not what it was in the baseline; both null: one side does not say."""

    editor: str
    model: str
    name: str
    base: JsonValue = None
    now: JsonValue = None


class MetricChange(Record):
    """A metric's mean over the cases that have a value on both sides."""

    suite: str
    editor: str
    model: str
    metric: str
    base: float
    now: float


class ComparisonRecord(Record):
    """This run beside a baseline, case by case. A case that failed on both sides is a known pitfall."""

    base: str = Field(description="the baseline's name")
    started: str | None = Field(default=None, description="when the baseline's run started")
    paired: int = Field(ge=0, description="cases that both have")
    known: int = Field(ge=0, description="failed there, fails here")
    unchanged: int = Field(ge=0, description="passed on both sides, or skipped on both")
    errors: int = Field(ge=0, description="an error here, whatever it was there")
    lost: int = Field(ge=0, description="scored there, skipped here")
    gained: int = Field(ge=0, description="passed here, skipped or an error there")
    new: int = Field(ge=0, description="cases that the baseline does not have")
    deselected: int = Field(ge=0, description="cases of the baseline that were not selected here")
    new_failures: list[CaseKeyRecord] = Field(default_factory=list, description="fails here, did not fail there")
    fixed: list[CaseKeyRecord] = Field(default_factory=list, description="failed there, passed here")
    hyper_parameters: list[HyperParameterDifference] = Field(default_factory=list)
    changes: list[MetricChange] = Field(default_factory=list, description="means there and here, of paired cases")


class ReasonRecord(Record):
    """Why a run fails beside its baseline, apart from failed gates and failed tests."""

    what: Literal["unreliable", "new_failures", "lost", "errors", "unrepeatable"] = Field(
        description="unreliable: edits took in the baseline and no longer do; new_failures: cases that fail and did "
        "not in the baseline, about which no gate decided; lost: cases that passed there and are skipped here; errors: "
        "in `editpitfalls compare` only; unrepeatable: a case depended on those before it, so no figure counts"
    )
    suite: str
    editor: str
    model: str
    text: str = Field(description="the reason in words")
    cases: list[CaseKeyRecord] = Field(default_factory=list)
