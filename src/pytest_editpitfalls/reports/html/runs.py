"""Rows for the page: gates, other runs beside this one, and the facts of the run, so that each figure can be traced."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from markupsafe import Markup

from pytest_editpitfalls.comparison.pairing import are_different
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.pitfalls import same_definitions
from pytest_editpitfalls.reports.view.cases import missed_by
from pytest_editpitfalls.reports.view.kinds import is_better, metric_named
from pytest_editpitfalls.reports.view.run import RunView
from pytest_editpitfalls.reports.view.verdicts import SEEN, AnyGate, state_of
from pytest_editpitfalls.results.comparison_records import RelativeGateRecord
from pytest_editpitfalls.results.records import CaseRecord, RunResults

from .charts import axis_of, forest
from .words import MetricWords, duration, label_of, words_of

Pair = tuple[CaseRecord, CaseRecord]
"""A case here and there."""


@dataclass(frozen=True, slots=True)
class GateRow:
    """A gate as the page shows it; one against a baseline has an empty drawing."""

    label: str
    record: AnyGate
    css: str
    word: str
    drawing: Markup


_CSS = {"passed": "passed", "failed": "failed", "inconclusive": "xfailed", "not evaluated": "skipped"}
"""State of a gate -> class."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric here and in another run."""

    suite: str
    metric: MetricWords
    label: str
    here: float | None
    there: float | None
    change: float | None
    word: str


@dataclass(frozen=True, slots=True)
class OtherRun:
    """Another run beside this one.

    Attributes:
        both, only_here, only_there: numbers of cases.
        got_worse, got_better: flipped cases, here and there; those first that miss by most.
        remarks: what makes the comparison doubtful.
    """

    label: str
    started: str
    both: int
    only_here: int
    only_there: int
    got_worse: list[Pair]
    got_better: list[Pair]
    differences: list[Difference]
    remarks: list[str]


def gate_rows(gates: Iterable[AnyGate]) -> list[GateRow]:
    """Return gates in their order."""
    rows = []
    for gate in gates:
        word = state_of(gate)
        # an inconclusive one fails under --pitfalls-strict
        css = "failed" if gate.passed is False else _CSS[word]
        label = label_of(gate.editor, gate.model) if gate.editor and gate.model else "–"
        rows.append(GateRow(label, gate, css, word, _drawing(gate)))
    return rows


def _drawing(gate: AnyGate) -> Markup:
    if isinstance(gate, RelativeGateRecord):
        return Markup("")
    axis = axis_of(gate.metric, [gate.value, gate.low, gate.high, gate.bound])
    return forest(axis, gate.value, gate.low, gate.high, bound=gate.bound)


def case_link(suite: str, editor: str, model: str, case_id: str) -> str:
    """Return the fragment that opens a case's story, as the page's script writes it."""
    # what JavaScript's encodeURIComponent leaves as it is
    return "#case=" + "/".join(quote(visible(part), safe="!'()*~") for part in (suite, editor, model, case_id))


def beside(view: RunView, label: str, other: RunResults) -> OtherRun:
    """Return another run beside a run."""
    results = view.results
    here = {case.key: case for case in results.cases}
    there = {case.key: case for case in other.cases}
    pairs = [(here[key], there[key]) for key in here if key in there]
    pairs_by_miss = sorted(pairs, key=lambda pair: missed_by(pair[0])[1], reverse=True)
    return OtherRun(
        label=visible(label),
        started=visible(other.run.started or "unknown"),
        both=len(pairs),
        only_here=len(here) - len(pairs),
        only_there=len(there) - len(pairs),
        got_worse=[pair for pair in pairs_by_miss if _worse(pair[1], pair[0])],
        got_better=[pair for pair in pairs_by_miss if _worse(*pair)],
        differences=_differences(view, other),
        remarks=_remarks(results, other, pairs),
    )


_BAD = ("failed", "xfailed", "error")


def _worse(before: CaseRecord, after: CaseRecord) -> bool:
    """Whether a case that had passed fails: what was skipped on one side says nothing."""
    return before.outcome == "passed" and after.outcome in _BAD


def _differences(view: RunView, other: RunResults) -> list[Difference]:
    there = {(a.suite, a.editor, a.model): a for a in other.aggregates}
    rows = []
    for aggregate in view.results.aggregates:
        partner = there.get((aggregate.suite, aggregate.editor, aggregate.model))
        if partner is None:
            continue
        for name in view.metrics_of(aggregate.suite):
            if name not in aggregate.metrics or name not in partner.metrics:
                continue
            here, before = aggregate.metrics[name].value, partner.metrics[name].value
            change = None if here is None or before is None else here - before
            words = words_of(name, [view.pitfalls[aggregate.suite]])
            label, word = label_of(aggregate.editor, aggregate.model), _judge(name, change)
            rows.append(Difference(visible(aggregate.suite), words, label, here, before, change, word))
    return rows


_CHANGES: dict[bool | None, str] = {True: "better", False: "worse", None: "changed"}


def _judge(name: str, change: float | None) -> str:
    if change is None or metric_named(name) is None:
        return "unknown"
    return "same" if abs(change) < SEEN else _CHANGES[is_better(name, change)]


def _remarks(results: RunResults, other: RunResults, both: Sequence[Pair]) -> list[str]:
    remarks = []
    definitions = results.run.metric_definitions, other.run.metric_definitions
    if all(definitions) and not same_definitions(*definitions):
        remarks.append("the metrics are defined differently: their figures cannot be compared")
    judges = {suite.name: suite.judge for suite in other.run.suites}
    remarks += [
        f"another judge scored what the model says in {visible(suite.name)}: these figures cannot be compared"
        for suite in results.run.suites
        if suite.name in judges and are_different(suite.judge, judges[suite.name])
    ]
    changed = sum(bool(a.digest and b.digest) and a.digest != b.digest for a, b in both)
    if changed:
        remarks.append(f"{changed} of the common cases ask something else (another digest)")
    prints = {model.name: model.fingerprint for model in other.run.models}
    for model in results.run.models:
        known = prints.get(model.name)
        if known and model.fingerprint and known != model.fingerprint:
            remarks.append(f"{visible(model.name)} has other weights there")
    parameters = {(e.name, e.model): e.hyper_parameters for e in other.run.editors}
    for editor in results.run.editors:
        theirs = parameters.get((editor.name, editor.model))
        if theirs is None:
            continue
        ours = editor.hyper_parameters
        if names := sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)):
            shown = ", ".join(visible(name) for name in names)
            remarks.append(f"{label_of(editor.name, editor.model)} ran with other hyper-parameters: {shown}")
    return remarks


@dataclass(frozen=True, slots=True)
class Block:
    """A titled list of names and values."""

    title: str
    pairs: list[tuple[str, str]]
    open: bool = False


def run_blocks(results: RunResults) -> list[Block]:
    """Return all run facts, so that every number can be traced."""
    run = results.run
    general: dict[str, object] = {
        "started": run.started,
        "wall time": duration(run.seconds),
        "command": shlex.join(["pytest", *run.command]) if run.command else None,
        "exit status": run.exit_status,
        "seed": run.seed,
        "device": run.device,
        "dtype": run.dtype,
        "batch size": "automatic" if run.batch_size is None else run.batch_size,
        "limit": "none" if run.limit is None else f"{run.limit} cases per suite",
        "shard": run.shard or "none",
        "results from": "a store alone, no model was loaded" if run.replay else "this run and its store",
        "cached cases": f"{sum(case.cached for case in results.cases)} of {len(results.cases)}",
        "success floor": run.success_floor,
        "metric definitions": run.metric_definitions or None,
        "schema version": results.schema_version,
    }
    blocks = [
        Block("Run", _pairs(general), open=True),
        Block("Versions", _pairs(run.versions), open=True),
        Block("Time by stage", [(visible(name), duration(value)) for name, value in run.timings.items()]),
    ]
    for editor in run.editors:
        title = f"Editor {label_of(editor.name, editor.model)}"
        blocks.append(Block(f"{title}: hyper-parameters", _pairs(editor.hyper_parameters)))
        if editor.second_moment is not None:
            blocks.append(Block(f"{title}: second moment", _pairs(editor.second_moment)))
    for model in run.models:
        facts: dict[str, object] = model.model_dump(exclude={"details"}) | model.details
        blocks.append(Block(f"Model {visible(model.name)}", _pairs(facts)))
    blocks += [Block(f"Suite {visible(suite.name)}", _pairs(suite.model_dump())) for suite in run.suites]
    return [block for block in blocks if block.pairs]


def _pairs(facts: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(visible(name), _text(value)) for name, value in facts.items()]


def _text(value: object) -> str:
    if value is None:
        return "–"
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
