"""What fails a run beside a baseline: one rule, for a run of pytest and for `editpitfalls compare`.

In this order: a suite whose edits took in the baseline and no longer do; a gate that fails; and each new failure that
no gate has decided about. A gate that is inconclusive, or could not be evaluated, decides nothing: then the rule for
single cases holds, what passed there and fails here fails the run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from pytest_editpitfalls.cases.case import Kind
from pytest_editpitfalls.options.config import Inconclusive
from pytest_editpitfalls.options.defaults import SUCCESS_FLOOR
from pytest_editpitfalls.pitfalls import METRICS, controls_of
from pytest_editpitfalls.results.comparison_records import ReasonRecord, RelativeGateRecord
from pytest_editpitfalls.results.records import CaseRecord, GateRecord, RunResults
from pytest_editpitfalls.statistics.drops import LEVEL, PairedDrop, holm
from pytest_editpitfalls.verdicts.excuses import is_our_excuse
from pytest_editpitfalls.verdicts.reliability import percent
from pytest_editpitfalls.verdicts.thresholds import Gate

from .baseline import FAILED, CaseKey
from .paired_metric import PairedMetric
from .pairing import Comparison, key_record
from .relative_gates import RelativeGate

Group = tuple[str, str, str]
"""(suite, editor, model)."""

_SHOWN = 10


def gates_judge(suite: str, kind: Kind, absolute: Iterable[Gate], relative: Iterable[RelativeGate]) -> bool:
    """Return whether some gate judges a suite; one on a control, which no editor can change, does not."""
    controls = controls_of(kind)
    return any(gate.suite == suite and gate.threshold.metric not in controls for gate in absolute) or any(
        gate.judges(suite, kind) and gate.metric not in controls for gate in relative
    )


def failing_gates(
    results: RunResults,
    *,
    asked: Collection[str],
    part_of: Callable[[str, str, str], str | None],
    is_shard: bool,
) -> list[GateRecord | RelativeGateRecord]:
    """Return the gates that fail the run.

    One that failed does, and one that could not be evaluated although all its cases ran. A gate whose suite was not
    run, or run in part, does not, unless it was asked for this very run and this is no shard.

    Args:
        asked: gates, as text, that were asked for this very run.
        part_of: says why the run has a part of a group's cases only; None where it has all.
    """

    def fails(gate: GateRecord | RelativeGateRecord) -> bool:
        if gate.passed is not None:
            return not gate.passed
        if isinstance(gate, RelativeGateRecord) and gate.verdict == "inconclusive":
            return False
        if gate.gate in asked and not is_shard:
            return True
        if gate.editor is None or gate.model is None or gate.suite == "*":
            return False
        return part_of(gate.suite, gate.editor, gate.model) is None

    judged: list[GateRecord | RelativeGateRecord] = [*results.gates, *results.relative_gates]
    return [gate for gate in judged if fails(gate)]


def reasons_of(
    results: RunResults,
    comparison: Comparison,
    *,
    is_gated: Callable[[str], bool],
    inconclusive: Inconclusive,
    is_seen: Callable[[CaseRecord], bool] = lambda _: False,
    is_judged: Callable[[str], bool] = lambda _: True,
) -> list[ReasonRecord]:
    """Return why a run fails besides its failed gates, the most important reason first; empty where nothing does.

    A shard judges nothing: its cases wait for the run that has all of them.

    Args:
        results: the run, with its relative gates.
        is_gated: whether some gate names a suite.
        inconclusive: what becomes of new failures where a gate is inconclusive: each counts ("cases"), or they count
            where there are more of them than of fixed cases by more than chance ("excess": 5 %, after Holm), or not.
        is_seen: whether a case fails the run as a test already, so that it is no further reason.
        is_judged: whether a suite is judged at all.
    """
    if results.run.shard is not None:
        return []
    reasons = [
        *_unrepeatable(results),
        *_no_longer_reliable(results, comparison),
        *_new_failures(results, comparison, is_gated, inconclusive, is_seen),
        *_lost(comparison),
    ]
    return [reason for reason in reasons if is_judged(reason.suite)]


def _no_longer_reliable(results: RunResults, comparison: Comparison) -> list[ReasonRecord]:
    """Return the groups whose edits took in the baseline and no longer do.

    The mean of ``es`` reached the floor there and is under it here; and that is no chance: its interval here lies
    under the floor, or the paired cases prove a drop (5 %, after Holm). Where it was under the floor there as well,
    both have to hold.
    """
    floor = SUCCESS_FLOOR if results.run.success_floor is None else results.run.success_floor
    success = METRICS.get("es")
    paired = {
        group: found
        for group, pairs in comparison.by_figures.items()
        if (found := PairedMetric.of(success, group, pairs, results.run.seed)) is not None
    }
    adjusted = dict(zip(paired, holm([found.drop.p_value(0.0) for found in paired.values()]), strict=True))
    aggregates = {(each.suite, each.editor, each.model): each for each in results.aggregates}
    reasons = []
    for group, found in paired.items():
        here = aggregates.get(group)
        is_under = here is not None and here.reliable is False
        is_proven = adjusted[group] < LEVEL
        if found.now >= floor or not (is_under or is_proven) or (found.base < floor and not (is_under and is_proven)):
            continue
        suite, editor, model = group
        around = here.metrics["es"] if here is not None else None
        between = (
            f" (95 % interval {percent(around.low)} to {percent(around.high)})"
            if around is not None and around.low is not None and around.high is not None
            else ""
        )
        word = "no longer" if found.base >= floor else "even less"
        text = (
            f"{suite} ({editor} on {model}) is {word} reliable: edits took in {percent(found.base)} of its cases in "
            f"the baseline and take in {percent(found.now)} here{between}, under the floor of {percent(floor)}"
        )
        reasons.append(ReasonRecord(what="unreliable", suite=suite, editor=editor, model=model, text=text))
    return reasons


def _new_failures(
    results: RunResults,
    comparison: Comparison,
    is_gated: Callable[[str], bool],
    inconclusive: Inconclusive,
    is_seen: Callable[[CaseRecord], bool],
) -> list[ReasonRecord]:
    """Return the cases that fail here and did not in the baseline, by the reason why no gate excuses them.

    A gate excuses the cases that it has judged: one relative to the baseline those that the baseline has as well.
    """
    undecided: dict[Group, list[GateRecord | RelativeGateRecord]] = {}
    bound: set[Group] = set()
    judged: list[GateRecord | RelativeGateRecord] = [*results.gates, *results.relative_gates]
    for gate in judged:
        if gate.editor is None or gate.model is None:
            continue
        if _decides_nothing(gate, inconclusive):
            undecided.setdefault((gate.suite, gate.editor, gate.model), []).append(gate)
        elif isinstance(gate, GateRecord):
            bound.add((gate.suite, gate.editor, gate.model))
    new = set(comparison.new)
    failures: dict[Group, list[CaseKey]] = {}
    unseen: dict[Group, list[CaseKey]] = {}
    errors: dict[Group, list[CaseKey]] = {}
    for case in results.cases:
        group = results.figures_of(case)  # of several seeds all together, as the gates
        if is_seen(case):
            continue
        if case.outcome == "error":
            errors.setdefault(group, []).append(case.key)
        elif _is_failure(case) and not comparison.base.failed(
            case.key, results.run.seed if case.seed is None else case.seed
        ):
            if group in undecided or not is_gated(case.suite):
                failures.setdefault(group, []).append(case.key)
            elif case.key in new and group not in bound:
                unseen.setdefault(group, []).append(case.key)
    if inconclusive == "excess":
        gated = [group for group in failures if group in undecided]
        adjusted = holm([_excess(comparison, group) for group in gated])
        chance = {group for group, p in zip(gated, adjusted, strict=True) if p >= LEVEL}
        failures = {group: keys for group, keys in failures.items() if group not in chance}
    reasons = [_reason("errors", group, keys, "an error is never a pass") for group, keys in errors.items()]
    reasons += [
        _reason("new_failures", group, keys, _why(undecided.get(group, ()), inconclusive))
        for group, keys in failures.items()
    ]
    return reasons + [
        _reason("new_failures", group, keys, "the baseline does not have them, so no gate compared them")
        for group, keys in unseen.items()
    ]


def _lost(comparison: Comparison) -> list[ReasonRecord]:
    """Return the cases that passed in the baseline and were skipped here: a skip is no pass."""
    found: dict[Group, list[CaseKey]] = {}
    for pair in comparison.of_change("lost"):
        if pair.base.outcome not in FAILED:
            found.setdefault(comparison.now.figures_of(pair.now), []).append(pair.key)
    why = "they passed in the baseline and are skipped here, which is no pass"
    return [_reason("lost", group, keys, why) for group, keys in found.items()]


def _unrepeatable(results: RunResults) -> list[ReasonRecord]:
    """Return the groups none of whose figures counts, because a case depended on those before it."""
    return [
        ReasonRecord(
            what="unrepeatable",
            suite=each.suite,
            editor=each.editor,
            model=each.model,
            text=f"{each.suite} ({each.editor} on {each.model}): {each.reliable_reason}",
        )
        for each in results.aggregates
        if not each.repeatable
    ]


def _excess(comparison: Comparison, group: Group) -> float:
    """Return the p-value of "no more cases fail here and not there than the other way round by chance"."""
    worse = {"new_failure": 1.0, "fixed": -1.0}
    pairs = [pair for pair in comparison.by_figures[group] if pair.counts]
    values = [worse.get(pair.change, 0.0) for pair in pairs]
    return PairedDrop(values, [pair.cluster for pair in pairs], True, 1.0, "\0".join(group)).p_value(0.0)


def _decides_nothing(gate: GateRecord | RelativeGateRecord, inconclusive: Inconclusive) -> bool:
    if isinstance(gate, RelativeGateRecord) and gate.verdict == "inconclusive":
        return inconclusive in {"cases", "excess"}
    return gate.passed is None


def _is_failure(case: CaseRecord) -> bool:
    """Whether a case missed its thresholds, excused by us or not; not where a test's author expected it."""
    return case.outcome == "failed" or (case.outcome == "xfailed" and is_our_excuse(case.reason))


def _why(gates: Sequence[GateRecord | RelativeGateRecord], inconclusive: Inconclusive) -> str:
    if not gates:
        return "no gate judges the suite, so each case counts"
    names = ", ".join(gate.gate for gate in gates)
    is_doubt = all(isinstance(gate, RelativeGateRecord) and gate.verdict == "inconclusive" for gate in gates)
    word = "inconclusive" if is_doubt else "without a verdict"
    undecided = f"gate{'s are' if len(gates) > 1 else ' is'} {word} ({names})"
    return f"{undecided}, " + (
        "and they are more than chance explains" if inconclusive == "excess" else "so each case counts"
    )


def _reason(what: str, group: Group, keys: Iterable[CaseKey], why: str) -> ReasonRecord:
    suite, editor, model = group
    found = list(keys)
    named = ", ".join(key[3] for key in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    noun = {"new_failures": "new failure", "lost": "case"}.get(what, "error")
    text = f"{suite} ({editor} on {model}): {len(found)} {noun}{'s' if len(found) > 1 else ''}, {named}{more}; {why}"
    return ReasonRecord.model_validate(
        {
            "what": what,
            "suite": suite,
            "editor": editor,
            "model": model,
            "text": text,
            "cases": [key_record(key) for key in found],
        }
    )
