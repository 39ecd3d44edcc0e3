"""Gates in words, absolute ones and those against a baseline."""

from __future__ import annotations

from typing import Literal

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.results.records import GateRecord, RelativeGateRecord

from .words import MARK

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


def gate_word(gate: AnyGate) -> str:
    """Return the same for a terminal: what is no pass is loud."""
    word = state_of(gate)
    return word if word == "passed" else word.upper()


def gate_line(gate: GateRecord) -> str:
    """Return a gate's verdict in words."""
    known = gate.passed is not None and gate.value is not None
    value = f", {gate.metric} = {gate.value:.4g}" if known else f", {gate.reason}"
    between = (
        f" [{gate.low:.4g}, {gate.high:.4g}]"
        if known and gate.low is not None and gate.high is not None
        else ""
    )
    mark = f" {MARK} unreliable: too few edits take" if gate.reliable is False else ""
    return visible(f"gate {gate.gate}{_where(gate)}: {gate_word(gate)}{value}{between}{mark}")


def relative_gate_line(gate: RelativeGateRecord) -> str:
    """Return a relative gate's verdict in words, with the smallest drop that it would have found."""
    suite = f" {gate.suite}" if gate.gate.startswith("*") and gate.suite != "*" else ""
    text = f"gate {gate.gate}{suite}{_where(gate)}: {gate_word(gate)}"
    if gate.verdict == "inconclusive" and gate.passed is False:
        text += " (fails: --pitfalls-strict)"
    if gate.verdict == "not_evaluated":
        return visible(f"{text}, {gate.reason}")
    text += f", {gate.metric} {_number(gate.base)} -> {_number(gate.now)}, drop {_number(gate.drop)}"
    text += f" (at most {_number(gate.upper)}), margin {_number(gate.margin)}"
    if gate.p_holm is not None:
        text += f", p {gate.p_holm:.2g}"
    text += f"; {gate.worse} of {gate.n} cases worse, {gate.better} better"
    if gate.mcnemar_p is not None:
        text += f" (McNemar p {gate.mcnemar_p:.2g})"
    if gate.verdict == "fail":
        return visible(text)
    found = "no drop" if gate.detectable is None else f"a true drop of {_number(gate.detectable)}"
    return visible(f"{text}; finds {found} with 80 % power")


def _where(gate: AnyGate) -> str:
    return f" ({gate.editor} on {gate.model})" if gate.editor is not None else ""


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}"
