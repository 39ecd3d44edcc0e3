"""What became of the gates, and of the cases against a baseline, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.results.comparison_records import (
    ComparisonRecord,
    HyperParameterDifference,
    RelativeGateRecord,
)
from pytest_editpitfalls.results.gates import NO_EDIT_TOOK
from pytest_editpitfalls.results.records import GateRecord, RunResults

from .kinds import is_better
from .words import MARK, ends, plain

AnyGate = GateRecord | RelativeGateRecord

State = Literal["passed", "failed", "inconclusive", "not evaluated"]

_VERDICTS: dict[bool | str | None, State] = {
    True: "passed",
    False: "failed",
    None: "not evaluated",
    "pass": "passed",
    "fail": "failed",
    "inconclusive": "inconclusive",
    "not_evaluated": "not evaluated",
}


def state_of(gate: AnyGate) -> State:
    """Return what became of a gate, in words."""
    return _VERDICTS[gate.verdict if isinstance(gate, RelativeGateRecord) else gate.passed]


def line_of(gate: AnyGate) -> str:
    """Return the verdict of any gate in words."""
    return relative_gate_line(gate) if isinstance(gate, RelativeGateRecord) else gate_line(gate)


def reason_lines(results: RunResults) -> list[str]:
    """Return why a run fails beside its baseline, apart from failed gates and tests: what is most important first."""
    return [visible(f"this fails the run: {reason.text}") for reason in results.reasons]


def gate_line(gate: GateRecord) -> str:
    """Return a gate's verdict in words."""
    known = gate.passed is not None and gate.value is not None
    value = f", {gate.metric} = {bound_figure(gate.value)}" if known else f", {gate.reason}"
    between = f" {ends(gate.low, gate.high)}".rstrip() if known else ""
    mark = f" {MARK} {_distrust(gate)}" if gate.reliable is False or _no_edit_took(gate) else ""
    return visible(f"gate {gate.gate}{_said(gate)}{value}{between}{mark}")


def relative_gate_line(gate: RelativeGateRecord) -> str:
    """Return a relative gate's verdict in words, with the smallest drop that it would have found."""
    suite = f" {gate.suite}" if gate.gate.startswith("*") and gate.suite != "*" else ""
    text = f"gate {gate.gate}{suite}{_said(gate)}"
    if gate.verdict == "inconclusive" and gate.passed is False:
        text += " (fails: --pitfalls-inconclusive=fail)"
    if gate.verdict == "not_evaluated":
        return visible(f"{text}, {gate.reason}")
    text += f", {gate.metric} {drop_figure(gate.base)} -> {drop_figure(gate.now)}, drop {drop_figure(gate.drop)}"
    text += f" (at most {drop_figure(gate.upper)}), margin {drop_figure(gate.margin)}"
    if gate.p_holm is not None:
        text += f", p {p_figure(gate.p_holm)}"
    text += f"; {gate.worse} of {gate.n} cases worse, {gate.better} better"
    if gate.mcnemar_p is not None:
        text += f" (McNemar p {p_figure(gate.mcnemar_p)})"
    if gate.verdict == "fail":
        return visible(f"{text} {MARK} {gate.reason}" if _no_edit_took(gate) else text)
    found = "no drop" if gate.detectable is None else f"a true drop of {drop_figure(gate.detectable)}"
    return visible(f"{text}; finds {found} with 80 % power")


def _distrust(gate: GateRecord) -> str:
    return str(gate.reason) if _no_edit_took(gate) else "unreliable: too few edits take"


def _no_edit_took(gate: AnyGate) -> bool:
    return gate.reason is not None and gate.reason.startswith(NO_EDIT_TOOK)


def _said(gate: AnyGate) -> str:
    """Where a gate was held and what became of it; what is no pass is loud."""
    word, where = state_of(gate), f" ({gate.editor} on {gate.model})" if gate.editor is not None else ""
    return f"{where}: {word if word == 'passed' else word.upper()}"


def bound_figure(value: float | None) -> str:
    """Return a figure that a bound is held against: a fraction, as the gate is written; "-" where it is unknown."""
    return "-" if value is None else f"{value:.4g}"


def drop_figure(value: float | None) -> str:
    """Return a figure of a gate on a drop: a fraction; "-" where it is unknown."""
    return plain(value)


def p_figure(value: float | None) -> str:
    """Return a p-value; "-" where there is none."""
    return "-" if value is None else f"{value:.2g}"


ARROWS = {False: {True: "▲", False: "▼"}, True: {True: "^", False: "v"}}
"""Better and worse than the baseline, on a terminal with and without Unicode."""

SEEN = 0.0005
"""Least change of a mean that is marked: less is not seen in a table."""

Arrows = Mapping[tuple[str, str, str, str], str]
"""(suite, editor, model, metric) -> the arrow before its mean."""


def baseline_counts(compared: ComparisonRecord) -> str:
    """Return how the cases compare, in one line; what does not occur is left out, but for new failures."""
    parts = {
        "known pitfalls": compared.known,
        "new failures": len(compared.new_failures),
        "fixed": len(compared.fixed),
        "errors": compared.errors,
        "skipped now": compared.lost,
        "no longer skipped": compared.gained,
        "not in the baseline": compared.new,
        "not selected here": compared.deselected,
    }
    counts = ", ".join(f"{count} {what}" for what, count in parts.items() if count or what == "new failures")
    return f"{compared.paired} cases on both sides, {counts}"


def changed_arrows(compared: ComparisonRecord | None, ascii_only: bool = False) -> Arrows:
    """Return the arrows of all metrics that are better or worse than in the baseline."""
    return {
        (each.suite, each.editor, each.model, each.metric): ARROWS[ascii_only][better]
        for each in (compared.changes if compared else ())
        if abs(each.now - each.base) >= SEEN and (better := is_better(each.metric, each.now - each.base)) is not None
    }


def differing(each: HyperParameterDifference) -> str:
    """Return a hyper-parameter that differs from the baseline's, in words."""
    return visible(f"{each.editor} on {each.model}: {each.name} was {each.base}, is {each.now}")
