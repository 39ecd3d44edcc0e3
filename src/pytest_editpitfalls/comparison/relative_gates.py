"""Gates on how much worse a metric may get than in the baseline: ``reverse.cs_exp:2pp``, ``easy.distortion:5%``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_editpitfalls.cases.case import Kind
from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.options.editor_labels import seed_of
from pytest_editpitfalls.pitfalls import METRICS, metric_of, metrics_for
from pytest_editpitfalls.results.comparison_records import RelativeGateRecord
from pytest_editpitfalls.results.gates import is_untaken, untaken_reason
from pytest_editpitfalls.results.records import AggregateRecord
from pytest_editpitfalls.statistics.drops import LEVEL, PairedDrop, holm, reach_of
from pytest_editpitfalls.statistics.paired_binary import mcnemar
from pytest_editpitfalls.verdicts.thresholds import OPERATORS

from .paired_metric import PairedMetric
from .pairing import Comparison, Pair

Unit = Literal["pp", "%", ""]
EVERY = "*"
_AMOUNT = re.compile(r"(?P<amount>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(?P<unit>pp|%)?")
_EXAMPLE = "write SUITE.METRIC:MARGIN, such as 'reverse.cs_exp:2pp', 'easy.distortion:5%' or '*.succ:0'"


@dataclass(frozen=True, slots=True)
class RelativeGate:
    """How much worse a metric may get.

    Attributes:
        suite: the suite, or "*" for every suite that has the metric.
        metric: the metric; its own direction says what worse is.
        amount: the margin, in ``unit``.
        unit: "pp" for percentage points (hundredths of the metric's own unit), "%" for per cent of the baseline's
            value, "" for a margin of 0.
    """

    suite: str
    metric: str
    amount: float
    unit: Unit

    def __str__(self) -> str:
        return f"{self.suite}.{self.metric}:{self.amount:g}{self.unit}"

    def judges(self, suite: str, kind: Kind) -> bool:
        """Return whether the gate is about this suite."""
        return self.suite == suite or (self.suite == EVERY and metric_of(kind, self.metric) is not None)


def is_relative(text: str) -> bool:
    """Return whether a gate is meant to be relative ("a.b:2pp") rather than a bound ("a.b >= 0.6")."""
    return ":" in text and not any(symbol in text for symbol in OPERATORS)


def parse_relative_gate(text: str, suites: Mapping[str, Kind], *, where: str | None = None) -> RelativeGate:
    """Parse "reverse.cs_exp:2pp".

    Args:
        text: a suite or ``*``, a dot, a metric, a colon, and a margin: percentage points, per cent, or 0.
        suites: the known suites with their kinds (the ones that ship and the ones of this run).

    Raises:
        UsageError: another form, an unknown suite or metric, a metric that the suite does not have, or a margin that
            no drop can exceed.
    """
    name, colon, margin = text.strip().rpartition(":")
    suite, dot, metric = name.strip().rpartition(".")
    found = _AMOUNT.fullmatch(margin.strip())
    if not (colon and dot and suite and metric):
        raise UsageError(f"'{text}' is no relative gate", where=where, fix=_EXAMPLE)
    if found is None or (found["unit"] is None and float(found["amount"]) != 0.0):
        raise UsageError(
            f"'{margin.strip()}' in '{text}' is no margin",
            where=where,
            fix="write percentage points (2pp), per cent of the baseline's value (5%) or 0; not negative",
        )
    if metric not in METRICS:
        raise UsageError(f"unknown metric '{metric}' in '{text}'", where=where, fix=did_you_mean(metric, METRICS))
    spec = METRICS.get(metric)
    if spec.higher_is_better is None:
        raise UsageError(
            f"neither more nor less of '{metric}' is better, so that nothing is worse (in '{text}')",
            where=where,
            fix="name another metric, or give a bound: " + f"'{name.strip()} >= 0.5'",
        )
    if suite != EVERY:
        if suite not in suites:
            raise UsageError(
                f"unknown suite '{suite}' in '{text}'", where=where, fix=did_you_mean(suite, [*suites, EVERY])
            )
        if metric_of(suites[suite], metric) is None:
            names = ", ".join(other.name for other in metrics_for(suites[suite]))
            raise UsageError(
                f"a {suites[suite]} suite has no metric '{metric}' (in '{text}')",
                where=where,
                fix=f"it has: {names}",
            )
    elif not any(metric_of(kind, metric) is not None for kind in suites.values()):
        raise UsageError(f"no suite has the metric '{metric}' (in '{text}')", where=where, fix="name another metric")
    amount = float(found["amount"])
    unit: Unit = "" if amount == 0.0 else "%" if found["unit"] == "%" else "pp"
    gate = RelativeGate(suite, metric, amount, unit)
    _refuse_idle(gate, spec, text, where)
    return gate


def _refuse_idle(gate: RelativeGate, spec: Metric, text: str, where: str | None) -> None:
    """A margin as wide as the metric is no gate: it could never fail."""
    reach = reach_of(spec)
    points_are_all = gate.unit == "pp" and reach is not None and gate.amount >= 100 * reach
    percent_is_all = gate.unit == "%" and spec.higher_is_better and spec.low == 0.0 and gate.amount >= 100
    if points_are_all or percent_is_all or not math.isfinite(gate.amount) or gate.amount > 1e6:
        raise UsageError(
            f"the margin {gate.amount:g}{gate.unit} in '{text}' can never be exceeded",
            where=where,
            fix="allow less: 2pp are two percentage points",
        )


def evaluate_relative_gates(
    gates: Sequence[RelativeGate],
    comparison: Comparison,
    kinds: Mapping[str, Kind],
    *,
    seed: int = 0,
    strict: bool = False,
    part: str | None = None,
    aggregates: Iterable[AggregateRecord] = (),
) -> list[RelativeGateRecord]:
    """Hold gates against a comparison: one record per gate, suite, editor and model of the run.

    Several seeds of an editor are judged together, under those that both sides have.

    Args:
        kinds: suite -> kind, of every suite of the run.
        strict: whether inconclusive counts as failed.
        part: why the run has a part of its cases only, so that no gate is evaluated; None where it has all.
        aggregates: the run's aggregates, for the mark of unreliable figures.

    A gate is not evaluated, which is never a pass, when its suite did not run, when cases of the suite were
    deselected, ended in an error or lost their value, when no case has a value on both sides, or when it allows per
    cent of zero.
    """
    found = {(item.suite, item.editor, item.model): item for item in aggregates}
    groups = comparison.by_figures
    gates = list(dict.fromkeys(gates))
    judged: list[tuple[RelativeGateRecord, PairedDrop | None]] = []
    for gate in gates:
        named = [group for group in groups if gate.judges(group[0], kinds[group[0]])]
        if not named:
            what = (
                "no suite that has it ran" if gate.suite == EVERY else f"suite '{gate.suite}' has no cases in this run"
            )
            judged.append((_blank(gate, (gate.suite, None, None), part or what), None))
        judged += [_pair_up(gate, group, groups[group], kinds[group[0]], comparison, seed, part) for group in named]
    tests = [(record, paired) for record, paired in judged if paired is not None]
    raw = [paired.p_value(_margin(record)) for record, paired in tests]
    for (record, paired), p, adjusted in zip(tests, raw, holm(raw), strict=True):
        _decide(record, paired, p, adjusted, len(tests), strict)
    for record, _ in judged:
        if record.editor is None or record.model is None:
            continue
        if (aggregate := found.get((record.suite, record.editor, record.model))) is not None:
            record.reliable = aggregate.reliable
            if record.verdict in {"pass", "inconclusive"} and is_untaken(aggregate, record.metric):
                record.verdict, record.passed = "fail", False
                record.reason = untaken_reason(aggregate)
    return [record for record, _ in judged]


def _blank(gate: RelativeGate, group: tuple[str, str | None, str | None], reason: str | None) -> RelativeGateRecord:
    suite, editor, model = group
    return RelativeGateRecord(
        gate=str(gate),
        suite=suite,
        editor=editor,
        model=model,
        metric=gate.metric,
        verdict="not_evaluated",
        passed=None,
        reason=reason,
    )


def _pair_up(
    gate: RelativeGate,
    group: tuple[str, str, str],
    pairs: Sequence[Pair],
    kind: Kind,
    comparison: Comparison,
    seed: int,
    part: str | None,
) -> tuple[RelativeGateRecord, PairedDrop | None]:
    """Return the gate's record with the values on both sides, and the differences where it can be evaluated."""
    metric = metric_of(kind, gate.metric)
    assert metric is not None, f"{gate.metric} of a {kind} suite"
    record = _blank(gate, group, part or _obstacle(gate, group, pairs, comparison))
    found = PairedMetric.of(metric, group, pairs, seed)
    if found is None:
        record.reason = record.reason or f"no case has a value of {metric.name} on both sides"
        return record, None
    paired = found.drop
    record.base, record.now, record.n = found.base, found.now, found.n
    record.seeds = [each for label in found.seeds if (each := seed_of(label)) is not None]
    record.clusters, record.worse, record.better = len(paired.clusters), paired.worse, paired.better
    record.drop = paired.drop
    if paired.is_binary:
        record.mcnemar_p = mcnemar(paired.worse, paired.better)
    if gate.unit == "%" and record.base == 0.0:
        record.reason = record.reason or f"{gate.amount:g} % of zero: {gate.metric} is 0 in the baseline; use pp"
    record.margin = gate.amount / 100 * (abs(record.base) if gate.unit == "%" else 1.0)
    return record, paired if record.reason is None else None


def _obstacle(
    gate: RelativeGate, group: tuple[str, str, str], pairs: Sequence[Pair], comparison: Comparison
) -> str | None:
    """Return why the suite is incomplete, so that its gate says nothing; None where it is complete."""
    left_out = sum(comparison.groups.get(key[:3]) == group for key in comparison.deselected)
    if left_out:
        return f"{_cases(left_out)} of the baseline {'was' if left_out == 1 else 'were'} not selected"
    values = [pair.values(gate.metric) for pair in pairs]
    lost = sum(there is not None and here is None for there, here in values)
    if lost:
        have = "has" if lost == 1 else "have"
        return f"{_cases(lost)} with a value of {gate.metric} in the baseline {have} none here"
    return None


def _cases(count: int) -> str:
    return f"{count} case{'' if count == 1 else 's'}"


def _margin(record: RelativeGateRecord) -> float:
    assert record.margin is not None
    return record.margin


def _decide(
    record: RelativeGateRecord, paired: PairedDrop, p: float, adjusted: float, tests: int, strict: bool
) -> None:
    """Write p-values, bound and verdict into the record."""
    margin = _margin(record)
    upper = paired.upper
    record.p, record.p_holm, record.upper = p, adjusted, upper
    record.method = paired.method
    # the level that a gate has when it is the only one to fall
    record.detectable = paired.detectable(margin, LEVEL / tests)
    if adjusted < LEVEL:
        record.verdict = "fail"
        record.reason = f"{record.metric} got worse by {paired.drop:.4g}, more than the margin of {margin:.4g}"
    elif upper <= margin and not (margin == 0.0 and paired.worse):
        record.verdict = "pass"
    else:
        record.verdict = "inconclusive"
        record.reason = _doubt(record, paired, margin)
    if record.verdict == "inconclusive":
        record.passed = False if strict else None
    else:
        record.passed = record.verdict == "pass"


def _doubt(record: RelativeGateRecord, paired: PairedDrop, margin: float) -> str:
    """Say why a gate has no verdict."""
    if paired.method == "none":
        return f"{record.metric} has no lower end, and {record.clusters} subjects are too few for a bound without it"
    if paired.upper <= margin:
        return f"{_cases(paired.worse)} got worse, and the margin is 0"
    return f"the drop may be up to {paired.upper:.4g}, more than the margin of {margin:.4g}, but that is not proven"
