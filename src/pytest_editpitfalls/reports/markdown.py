"""The report of a pull request, in GitHub's Markdown. Whatever comes from data is text and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.outputs import write_text

from .view.cases import Story
from .view.kinds import figure
from .view.properties import PropertyRow
from .view.run import RunView
from .view.tables import Row
from .view.verdicts import AnyGate, baseline_counts, bound_figure, drop_figure, state_of
from .view.weights import HEADINGS
from .view.words import MARK, count, ends, lift, percent

if TYPE_CHECKING:
    from pytest_editpitfalls.results.comparison_records import RelativeGateRecord
    from pytest_editpitfalls.results.records import GateRecord, Outcome, RunResults

LONGEST = 60_000
"""Bytes of a report: GitHub refuses a comment of more than 65,536 characters."""

LONGEST_LABEL = 160
_ROWS = 60
_SECTION = 12_000
"""Lines of a table, and bytes of a table or a block."""
_WORST = 10

_SIGNS = {"passed": "✅", "failed": "❌"}
_OPEN = "⚠️"
"""Before a verdict; the second where it is neither."""

_SPELLED = {char: f"&#{ord(char)};" for char in "&<>|`*_[]()!#~\\$:@{}^="}
_WWW = re.compile(r"(?i)\b(www)\.")
_NUMBERED = re.compile(r"\d+[.)]")
_BREAK = "&#8203;"
"""No width: a name after @ or a number after # is no mention and no link with it."""


def inert(text: object, at_most: int = LONGEST_LABEL) -> str:
    """Return data as Markdown that shows it as it is: no markup, table cell, HTML, link, mention or issue.

    Control characters and bidirectional marks are shown as escapes.
    """
    shown = visible(text, at_most=at_most)
    if shown[:1] in ("-", "+") or _NUMBERED.match(shown):  # no item of a list
        shown = f"\u200b{shown}"
    spelled = "".join(_SPELLED.get(char, char) + (_BREAK if char in "@#" else "") for char in shown)
    return _WWW.sub(rf"\1{_BREAK}.", spelled)


def render_markdown(results: RunResults, *, at_most: int = LONGEST) -> str:
    """Return the report: verdict, gates, metrics, properties, worst cases, facts of the run.

    What does not fit in ``at_most`` bytes (UTF-8) is counted and left out.
    """
    view = RunView(results)
    sections = [
        [f"{_OPEN} {view.nothing}."] if view.nothing else [],
        _reasons(results),
        _gates(results.gates),
        _relative_gates(results.relative_gates),
        *_comparison(view),
        *_metrics(view),
    ]
    not_scored = [] if view.nothing else [f"- {line}" for line in view.not_scored]
    sections += [not_scored, *_properties(view), *_weights(view), *_worst(view), _facts(view)]
    return fitted(verdict(results), [section for section in sections if section], at_most)


def write_markdown(results: RunResults, path: Path, *, where: str = "--pitfalls-markdown") -> None:
    """Write the report to ``path``, whole or not at all; raises `UsageError` where it cannot be written."""
    write_text(render_markdown(results), path, where=where)


def fitted(head: str, sections: Iterable[Sequence[str]], at_most: int) -> str:
    """Return the head and as many sections as fit; a section that does not is said to be left out."""
    text = f"{head}\n"
    left_out = 0
    for section in sections:
        block = "\n" + "\n".join(section) + "\n"
        if len((text + block).encode()) > at_most - 200:
            left_out += 1
        else:
            text += block
    if left_out:
        text += f"\n_{left_out} section(s) left out: the report would be too long. The JSON file has them._\n"
    return text


def verdict(results: RunResults) -> str:
    """Return the first line: whether the run holds, and why not."""
    gates = [gate.passed for gate in results.gates] + [gate.passed for gate in results.relative_gates]
    outcomes = Counter(case.outcome for case in results.cases)
    failed, open_ = gates.count(False), gates.count(None)
    properties = Counter(each.outcome for each in results.properties)
    lost = properties["failed"] + properties["error"]
    if (
        failed
        or lost
        or results.reasons
        or outcomes["failed"]
        or outcomes["error"]
        or results.run.exit_status not in (None, 0)
    ):
        word = "failed"
    else:
        word = "not decided" if open_ or RunView(results).nothing else "passed"
    parts = ["edits no longer take"] if any(each.what == "unreliable" for each in results.reasons) else []
    parts += [f"{failed} of {count(len(gates), 'gate')} failed"] if gates else []
    if open_:
        parts.append(f"{open_} not decided")
    if (compared := results.comparison) is not None:
        parts += [count(len(compared.new_failures), "new failure"), f"{len(compared.fixed)} fixed"]
    if properties:
        parts.append(f"{lost} of {count(len(results.properties), 'property', 'properties')} failed")
    if results.cases or not properties:
        parts.append(f"{_pitfalls(outcomes)} of {count(len(results.cases), 'case')} missed a threshold")
    if outcomes["error"]:
        parts.append(count(outcomes["error"], "error"))
    return f"{_SIGNS.get(word, _OPEN)} **Pitfalls of knowledge edits: {word}** - {', '.join(parts)}"


def _pitfalls(outcomes: Counter[Outcome]) -> int:
    return outcomes["failed"] + outcomes["xfailed"]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int = 1) -> list[str]:
    """Return the lines of a table of Markdown (`inert`); columns from ``numbers_from`` on are aligned to the right.

    Rows beyond the size of a section are counted and left out.
    """
    align = ["---" if place < numbers_from else "---:" for place in range(len(headings))]
    top, line, *body = [f"| {' | '.join(cells)} |" for cells in (headings, align, *rows)]
    shown = clipped(body[:_ROWS])
    more = len(body) - len(shown)
    return [top, line, *shown, *(["", f"and {more} more"] if more else [])]


def details(summary: str, lines: Iterable[str]) -> list[str]:
    """Return a block that opens on a click; what is beyond the size of a section is left out."""
    return ["<details>", f"<summary>{summary}</summary>", "", *clipped(lines), "", "</details>"]


def clipped(lines: Iterable[str]) -> list[str]:
    """Return the first lines, as many as a section may have bytes."""
    shown, size = [], 0
    for line in lines:
        size += len(line.encode()) + 1
        if size > _SECTION:
            break
        shown.append(line)
    return shown


def _reasons(results: RunResults) -> list[str]:
    return [f"- This fails the run: {inert(reason.text)}" for reason in results.reasons]


def _gates(gates: Sequence[GateRecord]) -> list[str]:
    if not gates:
        return []
    order = {False: 0, None: 1, True: 2}
    rows = [
        [
            inert(gate.gate),
            inert(gate.editor or ""),
            inert(gate.model or ""),
            _verdict(gate),
            bound_figure(gate.value),
            ends(gate.low, gate.high),
            inert(gate.reason or "") if gate.passed is None else "",
        ]
        for gate in sorted(gates, key=lambda gate: order[gate.passed])
    ]
    return table(["gate", "editor", "model", "verdict", "value", "95 %", "why"], rows, numbers_from=7)


def _verdict(gate: AnyGate) -> str:
    word = state_of(gate)
    return f"{_SIGNS.get(word, _OPEN)} {word}{_mark(gate)}"


def _relative_gates(gates: Sequence[RelativeGateRecord]) -> list[str]:
    if not gates:
        return []
    order = ["fail", "not_evaluated", "inconclusive", "pass"]
    rows = [
        [
            inert(gate.gate),
            inert(gate.suite),
            inert(gate.editor or ""),
            inert(gate.model or ""),
            _verdict(gate),
            drop_figure(gate.base),
            drop_figure(gate.now),
            drop_figure(gate.drop),
            drop_figure(gate.upper),
            f"{gate.worse} / {gate.better}",
            drop_figure(gate.detectable) if gate.detectable is not None else "none",
            inert(gate.reason or "") if gate.verdict != "pass" else "",
        ]
        for gate in sorted(gates, key=lambda gate: order.index(gate.verdict))
    ]
    headings = ["gate", "suite", "editor", "model", "verdict", "base", "now", "drop", "at most (95 %)"]
    headings += ["cases worse / better", "finds (80 %)", "why"]
    return table(headings, rows, numbers_from=5)


def _comparison(view: RunView) -> Iterator[list[str]]:
    compared = view.results.comparison
    if compared is None:
        return
    when = f" of {inert(compared.started)}" if compared.started else ""
    yield [f"Against **{inert(compared.base)}**{when}: {baseline_counts(compared)}."]
    for title, keys, is_failing in (
        ("New failures", compared.new_failures, True),
        ("Fixed", compared.fixed, False),
    ):
        stories, _ = view.flipped(keys, _WORST, is_failing=is_failing)
        if stories:
            told, lines = _stories(stories)
            if more := len(keys) - told:
                lines.append(f"- and {more} more")
            yield details(f"{title}: {len(keys)}", lines)
    if compared.hyper_parameters:
        rows = [
            [inert(each.editor), inert(each.model), inert(each.name), inert(each.base), inert(each.now)]
            for each in compared.hyper_parameters
        ]
        body = table(["editor", "model", "name", "base", "now"], rows, numbers_from=5)
        yield details(f"Hyper-parameters that differ: {len(rows)}", body)


def _stories(stories: Iterable[Story]) -> tuple[int, list[str]]:
    """Return as many stories as fit whole into a section, at least one: how many they are, and their lines."""
    lines: list[str] = []
    told = size = 0
    for headline, more in stories:
        story = [f"- {inert(headline, 400)}", *(f"  - {inert(line, 400)}" for line in more)]
        size += sum(len(line.encode()) + 1 for line in story)
        if told and size > _SECTION - 100:
            break
        told += 1
        lines += story
    return told, lines


def _metrics(view: RunView) -> Iterator[list[str]]:
    for each in view.tables:
        body = table(
            ["suite", "editor", "model", "n", *map(inert, each.columns.values())],
            (line for row in each.rows for line in _lines(row, list(each.columns))),
            numbers_from=3,
        )
        below = [*each.unreliable[:_WORST], *each.below[:_WORST], *each.spreads[:_WORST]]
        remarks = (f"\n{inert(line, 500)}" for line in below)
        yield [f"**{inert(each.title)}**, % [95 %]", "", *body, *remarks]


def _lines(row: Row, columns: Sequence[str]) -> Iterator[list[str]]:
    """Give the line of a row; below it each score without any edit, and the lift over that."""
    name = "(published)" if row.published else inert(row.part or row.suite) + _mark(row)
    yield [name, inert(row.editor), inert(row.model), str(row.n), *(_cell(row, metric) for metric in columns)]
    known = [row.controlled.get(metric) for metric in columns]
    if any(known):
        yield ["no edit", "", "", "", *("" if each is None else percent(each.control.value) for each in known)]
        lifts = ("" if each is None else f"{f'{_OPEN} ' if each.is_below else ''}{lift(each.lift)}" for each in known)
        yield ["lift", "", "", "", *lifts]


def _mark(item: Row | AnyGate) -> str:
    return f" {MARK}" if item.reliable is False else ""


def _cell(row: Row, metric: str) -> str:
    if metric not in row.cells:
        return ""
    return f"{figure(metric, row.cells[metric].value)} {row.interval(metric)}".strip()


def _properties(view: RunView) -> Iterator[list[str]]:
    """Give a table for each editor and model, and below it the shortest edits that show what does not hold."""
    for each in view.properties:
        rows = ([inert(row.name), inert(row.says), _result(row), str(row.examples)] for row in each.rows)
        body = table(["property", "says", "result", "sequences of edits"], rows, numbers_from=3)
        yield [f"**Properties of {inert(each.title)}**", "", *body]
        for row in each.rows:
            lines = [f"- declared: {inert(row.declared, 400)}"] if row.declared else []
            lines += [f"- {inert(line, 400)}" for line in row.example]
            if row.replay:
                lines += ["", *_command(row.replay)]
            if lines:
                yield details(f"{inert(row.name)}: {inert(row.result)}", lines)


def _result(row: PropertyRow) -> str:
    sign = {"passed": "passed", "failed": "failed", "error": "failed"}.get(row.outcome, "")
    return f"{_SIGNS.get(sign, _OPEN)} {inert(row.result)}"


def _command(line: str) -> list[str]:
    """Return a command as a block of code: what is copied is what was run."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", line)), 3)
    return [fence, line, fence]


def _weights(view: RunView) -> Iterator[list[str]]:
    for each in view.weights:
        rows = ([inert(cell) for cell in row] for row in each.rows)
        below = [f"\n{inert(line, 500)}" for line in each.below]
        yield [f"**{inert(each.title)}**", "", *table(list(HEADINGS), rows), *below]


def _worst(view: RunView) -> Iterator[list[str]]:
    if worst := view.worst(_WORST):
        pitfalls = _pitfalls(Counter(case.outcome for case in view.results.cases))
        told, lines = _stories(worst)
        yield details(f"The worst {told} of {pitfalls} cases that missed a threshold", lines)


def _facts(view: RunView) -> list[str]:
    run = view.results.run
    facts: dict[str, str] = {
        "editors": ", ".join(dict.fromkeys(editor.name for editor in run.editors)),
        "models": ", ".join(f"{model.name} ({(model.fingerprint or 'no fingerprint')[:12]})" for model in run.models),
        "device": " ".join(part for part in (run.device, run.dtype) if part),
        "seed": str(run.seed),
        "cases": f"{len(view.results.cases)}, {view.cached} of them from the store",
        "time": "" if run.seconds is None else f"{run.seconds:.1f} s",
        "started": run.started or "",
        "versions": ", ".join(f"{name} {version}" for name, version in run.versions.items()),
        "command": " ".join(["pytest", *run.command]) if run.command else "",
    }
    rows = ([name, inert(text, 600)] for name, text in facts.items() if text)
    return details("The run", table(["", ""], rows, numbers_from=2))
