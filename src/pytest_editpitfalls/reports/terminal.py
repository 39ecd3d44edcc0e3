"""The summary inside pytest's own terminal report: tables, gates, worst cases, time. Nothing of pytest is replaced."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_editpitfalls.escaping import encodable, visible

from . import tables
from .baseline_lines import Changed, baseline_lines, marks_of, relative_gate_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from pytest_editpitfalls.results.records import GateRecord, RunResults


def write_summary(reporter: pytest.TerminalReporter, results: RunResults, *, summed: bool) -> None:
    """Write the summary of a run; ``summed`` as in `body`.

    Honours ``-q`` (short), ``--no-summary``, the terminal's width, ``NO_COLOR`` and ``--color``.
    """
    encoding = getattr(reporter._tw._file, "encoding", None)
    if reporter.config.getoption("no_summary"):  # only what explains the exit status
        fallen = [gate_line(gate) for gate in results.gates if gate.passed is False]
        fallen += [relative_gate_line(gate) for gate in results.relative_gates if gate.passed is False]
        _write(reporter, fallen, encoding)
        return
    kinds = {suite.name: suite.kind for suite in results.run.suites}
    formats = {suite.name: suite.format for suite in results.run.suites}
    lines = tables.rows(results, kinds, formats)
    if reporter.config.get_verbosity() < 0:
        marks = tables.unreliable(lines, kinds, results.run.success_floor or 0.0)
        short = short_summary(lines, results.gates, marks)
        short += [relative_gate_line(gate) for gate in results.relative_gates]
        short += [line for line, _ in baseline_lines(results)[:1]]
        _write(reporter, short, encoding)
        return
    reporter.section("editing pitfalls", sep="=")
    console = _console(reporter, encoding)
    ascii_only = not (encoding or "utf-8").lower().startswith("utf")
    for renderable in body(results, width=console.width, ascii_only=ascii_only, summed=summed):
        console.print(renderable, highlight=False)
    file = console.file
    assert isinstance(file, io.StringIO)
    _write(reporter, [line.rstrip() for line in file.getvalue().splitlines()], encoding)


def short_summary(
    lines: Sequence[tables.Row], gates: Sequence[GateRecord], unreliable: Sequence[str]
) -> list[str]:
    """Return the summary for ``-q``: one line per row, per unreliable row and per gate, without intervals."""
    text = []
    for row in lines:
        titles = tables.DISTORTION_COLUMNS if "ir" in row.cells else tables.CONFLICT_COLUMNS
        cells = ", ".join(
            f"{title} {tables.percent(row.cells[name].value)}"
            for name, title in titles.items()
            if name in row.cells
        )
        published = " (published)" if row.published else ""
        text.append(visible(f"{_marked(row)} {row.editor} {row.model}{published}: n {row.n}, {cells}"))
    return [*text, *unreliable, *(gate_line(gate) for gate in gates)]


def gate_line(gate: GateRecord) -> str:
    """Return a gate's verdict in words."""
    words = {True: "passed", False: "FAILED", None: "NOT EVALUATED"}[gate.passed]
    where = f" ({gate.editor} on {gate.model})" if gate.editor is not None else ""
    known = gate.passed is not None and gate.value is not None
    value = f", {gate.metric} = {gate.value:.4g}" if known else f", {gate.reason}"
    between = (
        f" [{gate.low:.4g}, {gate.high:.4g}]"
        if known and gate.low is not None and gate.high is not None
        else ""
    )
    mark = f" {tables.MARK} unreliable: too few edits take" if gate.reliable is False else ""
    return visible(f"gate {gate.gate}{where}: {words}{value}{between}{mark}")


def _console(reporter: pytest.TerminalReporter, encoding: str | None) -> Console:
    """Return a console that draws into a string, as wide and as colourful as pytest's own."""
    from rich.console import Console

    colour = reporter._tw.hasmarkup
    return Console(
        file=io.StringIO(),
        width=max(20, reporter._tw.fullwidth),
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
        legacy_windows=False,
        emoji=False,
        markup=False,
        soft_wrap=False,
    )


def body(
    results: RunResults, *, width: int, ascii_only: bool = False, summed: bool = False
) -> list[RenderableType]:
    """Return the summary of any run, live or stored.

    Args:
        results: the run.
        width: columns of the terminal.
        ascii_only: whether its encoding has no box drawing.
        summed: whether times are summed over several processes.
    """
    from rich.text import Text

    kinds = {suite.name: suite.kind for suite in results.run.suites}
    formats = {suite.name: suite.format for suite in results.run.suites}
    lines = tables.rows(results, kinds, formats)
    floor = results.run.success_floor or 0.0
    body: list[RenderableType] = []
    conflict = [row for row in lines if kinds[row.suite] != "round"]
    distortion = [row for row in lines if kinds[row.suite] == "round"]
    for title, part, titles in (
        ("Knowledge conflict (%)", conflict, tables.CONFLICT_COLUMNS),
        ("Knowledge distortion (%)", distortion, tables.DISTORTION_COLUMNS),
    ):
        if part:
            body += _table(title, part, titles, ascii_only, width, marks_of(results, ascii_only))
            marks = tables.unreliable(part, kinds, floor)
            body += [Text(line, "bold yellow") for line in marks]
    if any(row.published for row in lines):
        body.append(Text("In brackets: published by Li et al., ICLR 2024, with the same definitions.", "dim"))
    style = {True: "green", False: "bold red", None: "bold yellow"}
    body += [Text(gate_line(gate), style[gate.passed]) for gate in results.gates]
    body += [Text(relative_gate_line(gate), style[gate.passed]) for gate in results.relative_gates]
    body += [Text(line, look) for line, look in baseline_lines(results, ascii_only)]
    if worst := tables.worst_cases(results.cases):
        body.append(Text("Worst cases (mean probability, before -> after)", "bold"))
        for headline, details in worst:
            body.append(Text(f"  {headline}", "red"))
            body += [Text(f"    {line}") for line in details]
    outcomes = [case.outcome for case in results.cases if not case.is_scored]
    body += [
        Text(f"{outcomes.count(outcome)} cases {words}: they do not count in the tables", "yellow")
        for outcome, words in (("error", "are errors"), ("skipped", "were skipped"))
        if outcome in outcomes
    ]
    body += [Text(f"note: {note}", "yellow") for note in tables.notes(results.cases)]
    body += [Text(line, "dim") for line in _store_lines(results)]
    timings = {stage: seconds for stage, seconds in results.run.timings.items() if seconds is not None}
    if timings or results.run.seconds is not None:
        body.append(Text(f"time {tables.times(timings, results.run.seconds, summed)}", "dim"))
    if first := tables.first_result(results.run.first_result):
        body.append(Text(first, "dim"))
    return body


def _store_lines(results: RunResults) -> list[str]:
    cached = sum(case.cached for case in results.cases)
    return [f"{cached} of {len(results.cases)} cases came from the store"] if cached else []


def _table(
    title: str,
    lines: Sequence[tables.Row],
    titles: Mapping[str, str],
    ascii_only: bool,
    width: int,
    changed: Changed,
) -> list[RenderableType]:
    """Return the widest form that fits: intervals beside the values, below them, or one line per value."""
    from rich.console import Console
    from rich.text import Text

    shown = {name: text for name, text in titles.items() if any(name in row.cells for row in lines)}
    measure = Console(file=io.StringIO(), width=10_000, legacy_windows=False)
    for between, digits in ((" ", 1), ("\n", 1), ("\n", 0)):
        table = _grid(title, lines, shown, between, digits, ascii_only, changed)
        if measure.measure(table).maximum <= width:
            return [table]
    block: list[RenderableType] = [Text(title, "bold")]
    for row in lines:
        held = f", held {row.held}" if row.held else ""
        block.append(Text(visible(f"{_name(row)}, {row.editor} on {row.model}: n {row.n}{held}")))
        block += [
            Text(
                f"  {text} {tables.percent(row.cells[name].value)} {tables.interval(row.cells[name])}".rstrip()
            )
            for name, text in shown.items()
            if name in row.cells
        ]
    return block


def _grid(
    title: str,
    lines: Sequence[tables.Row],
    shown: Mapping[str, str],
    between: str,
    digits: int,
    ascii_only: bool,
    changed: Changed,
) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    pairs = {(row.editor, row.model) for row in lines if not row.published}
    if len(pairs) == 1:  # said once, to leave room for the figures
        editor, model = next(iter(pairs))
        title = visible(f"{title}, {editor} on {model}")
    table = Table(
        title=Text(title, "bold"), title_justify="left", box=box.ASCII if ascii_only else box.SIMPLE_HEAD
    )
    columns = ["suite"] if len(pairs) == 1 else ["suite", "editor", "model"]
    for heading in columns:
        table.add_column(heading, no_wrap=True)
    for heading in ("n", "held", *shown.values()):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in lines:
        name = f"({row.model})" if row.published and len(pairs) == 1 else _name(row)
        names = [Text(visible(text)) for text in (name, row.editor, row.model)][: len(columns)]
        cells = [_cell(row, metric, between, digits, changed) for metric in shown]
        style = "dim" if row.published else "yellow" if row.reliable is False else None
        table.add_row(*names, str(row.n), row.held, *cells, style=style)
    return table


def _name(row: tables.Row) -> str:
    return "(published)" if row.published else _marked(row)


def _marked(row: tables.Row) -> str:
    return f"{row.suite} {tables.MARK}" if row.reliable is False else row.suite


def _cell(row: tables.Row, name: str, between: str, digits: int, changed: Changed) -> str:
    if name not in row.cells:
        return ""
    value, around = tables.percent(row.cells[name].value), tables.interval(row.cells[name], digits)
    if not row.published:
        value = changed.get((row.suite, row.editor, row.model, name), "") + value
    return f"{value}{between}{around}" if around else value


def _write(reporter: Any, lines: Sequence[str], encoding: str | None) -> None:
    for line in lines:
        reporter.write_line(encodable(line, encoding))
