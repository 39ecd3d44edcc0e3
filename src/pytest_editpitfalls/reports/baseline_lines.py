"""What a run became against its baseline, as lines for a terminal: relative gates, counts, flipped cases in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_editpitfalls.escaping import visible

from . import tables

if TYPE_CHECKING:
    from pytest_editpitfalls.results.records import CaseKeyRecord, RelativeGateRecord, RunResults

SHOWN = 5
"""Flipped cases that are told of each kind."""

ARROWS = {False: {True: "▲", False: "▼"}, True: {True: "^", False: "v"}}
"""Better and worse than the baseline, on a terminal with and without Unicode."""

SEEN = 0.0005
"""Least change of a mean that is marked: less is not seen in a table."""

Changed = Mapping[tuple[str, str, str, str], str]
"""(suite, editor, model, metric) -> the arrow before its mean."""

_WORDS = {
    "pass": "passed",
    "fail": "FAILED",
    "inconclusive": "INCONCLUSIVE",
    "not_evaluated": "NOT EVALUATED",
}


def relative_gate_line(gate: RelativeGateRecord) -> str:
    """Return a relative gate's verdict in words, with the smallest drop that it would have found."""
    where = f" ({gate.editor} on {gate.model})" if gate.editor is not None else ""
    suite = f" {gate.suite}" if gate.gate.startswith("*") and gate.suite != "*" else ""
    text = f"gate {gate.gate}{suite}{where}: {_WORDS[gate.verdict]}"
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


def marks_of(results: RunResults, ascii_only: bool = False) -> Changed:
    """Return the arrows of all metrics that are better or worse than in the baseline."""
    from pytest_editpitfalls.pitfalls import METRICS

    return {
        (each.suite, each.editor, each.model, each.metric): ARROWS[ascii_only][
            (each.now > each.base) == METRICS.get(each.metric).higher_is_better
        ]
        for each in (results.comparison.changes if results.comparison else ())
        if abs(each.now - each.base) >= SEEN
    }


def baseline_lines(results: RunResults, ascii_only: bool = False) -> list[tuple[str, str]]:
    """Return the comparison's lines, each with a rich style."""
    compared = results.comparison
    if compared is None:
        return []
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
    head = f"Against the baseline {visible(compared.base)}: {compared.paired} cases on both sides, {counts}"
    lines = [(head, "bold")]
    if marks_of(results):
        better, worse = ARROWS[ascii_only][True], ARROWS[ascii_only][False]
        lines.append((f"  in the tables: {better} better than there, {worse} worse", "dim"))
    lines += [
        (f"  {line}", "red")
        for line in _flipped("worse now", compared.new_failures, results, is_failing=True)
    ]
    lines += [
        (f"  {line}", "green") for line in _flipped("better now", compared.fixed, results, is_failing=False)
    ]
    lines += [
        (
            visible(f"  {each.editor} on {each.model}: {each.name} was {each.base}, is {each.now}"),
            "yellow",
        )
        for each in compared.hyper_parameters
    ]
    return lines


def _flipped(
    title: str, keys: Sequence[CaseKeyRecord], results: RunResults, *, is_failing: bool
) -> Iterable[str]:
    wanted = {(key.suite, key.editor, key.model, key.id) for key in keys[:SHOWN]}
    stories = tables.told([case for case in results.cases if case.key in wanted], is_failing=is_failing)
    for headline, details in stories:
        yield f"{title}: {headline}"
        yield from (f"  {line}" for line in details)
    if len(keys) > SHOWN:
        yield f"{title}: and {len(keys) - SHOWN} more"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}"
