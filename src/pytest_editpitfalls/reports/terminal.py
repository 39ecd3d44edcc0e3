"""The summary inside pytest's own terminal report: tables, gates, worst cases, time. Nothing of pytest is replaced."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from pytest_editpitfalls.escaping import encodable, visible

from .grids import Grids, indented, marked
from .view.cases import notes_of
from .view.kinds import figure
from .view.run import RunView
from .view.tables import Row, Table
from .view.verdicts import (
    ARROWS,
    baseline_counts,
    changed_arrows,
    differing,
    gate_line,
    reason_lines,
    relative_gate_line,
)
from .view.weights import HEADINGS, WeightTable
from .view.words import percent

if TYPE_CHECKING:
    import pytest

    from pytest_editpitfalls.results.comparison_records import ComparisonRecord
    from pytest_editpitfalls.results.records import RunResults

WORST = FLIPPED = 5
"""Worst cases that are shown; cases that became worse, and cases that became better."""

_STATE_STYLE = {"good": "bold green", "bad": "bold red", "unknown": "bold yellow"}

_GATE_STYLE = {True: "green", False: "bold red", None: "bold yellow"}
"""`passed` of a gate -> how rich shows its line."""


def write_summary(reporter: pytest.TerminalReporter, results: RunResults, *, summed: bool) -> None:
    """Write the summary of a run; ``summed`` as in `RunView`.

    Honours ``-q`` (short), the terminal's width, ``NO_COLOR`` and ``--color``.
    """
    encoding = getattr(reporter._tw._file, "encoding", None)
    view = RunView(results, summed=summed)
    if reporter.config.get_verbosity() < 0:
        write_lines(reporter, short_summary(view))
        return
    reporter.section("editing pitfalls", sep="=")
    width, colour = max(20, reporter._tw.fullwidth), reporter._tw.hasmarkup
    summary = body(view, width=width, ascii_only=is_ascii(encoding))
    colours = "standard" if colour else None
    write_lines(reporter, drawn(summary, width=width, force_terminal=colour, color_system=colours, no_color=not colour))


def is_ascii(encoding: str | None) -> bool:
    """Return whether an output has no box drawing and no arrows."""
    return not (encoding or "utf-8").lower().startswith("utf")


def drawn(renderables: Iterable[RenderableType], **options: Any) -> list[str]:
    """Return the lines that rich draws; ``options`` of its console say how wide and how colourful."""
    file = io.StringIO()
    console = Console(file=file, legacy_windows=False, emoji=False, markup=False, **options)
    for renderable in renderables:
        console.print(renderable, highlight=False)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def short_summary(view: RunView) -> list[str]:
    """Return the summary for ``-q``: one line per row, per unreliable row and per gate, without intervals."""
    lines = []
    for table in view.tables:
        for row in table.rows:
            cells = ", ".join(
                f"{title} {figure(name, row.cells[name].value)}{_control(row, name)}"
                for name, title in table.columns.items()
                if name in row.cells
            )
            published = " (published)" if row.published else ""
            lines.append(visible(f"{marked(row)} {row.editor} {row.model}{published}: n {row.n}, {cells}"))
    results = view.results
    lines += [weights.title for weights in view.weights]
    lines += [*view.unreliable, *view.below, *(line for table in view.tables for line in table.spreads)]
    lines += [*reason_lines(results), *map(gate_line, results.gates)]
    lines += map(relative_gate_line, results.relative_gates)
    return lines if results.comparison is None else [*lines, _against_baseline(results.comparison)]


def baseline_lines(view: RunView, ascii_only: bool = False) -> Iterator[RenderableType]:
    """Give the lines of the comparison with a baseline."""
    compared = view.results.comparison
    if compared is None:
        return
    yield Text(_against_baseline(compared), "bold")
    if changed_arrows(compared):
        better, worse = ARROWS[ascii_only][True], ARROWS[ascii_only][False]
        yield Text(f"  in the tables: {better} better than there, {worse} worse", "dim")
    for title, keys, is_failing, style in (
        ("worse now", compared.new_failures, True, "red"),
        ("better now", compared.fixed, False, "green"),
    ):
        stories, more = view.flipped(keys, FLIPPED, is_failing=is_failing)
        for headline, details in stories:
            yield indented(f"{title}: {headline}", style, 2)
            yield from (indented(line, style) for line in details)
        if more:
            yield Text(f"  {title}: and {more} more", style)
    yield from (Text(f"  {differing(each)}", "yellow") for each in compared.hyper_parameters)


def _against_baseline(compared: ComparisonRecord) -> str:
    return f"Against the baseline {visible(compared.base)}: {baseline_counts(compared)}"


def gate_lines(view: RunView) -> Iterator[Text]:
    """Give what fails the run besides gates and tests, and the verdicts of all gates."""
    yield from (Text(line, "bold red") for line in reason_lines(view.results))
    yield from (Text(gate_line(gate), _GATE_STYLE[gate.passed]) for gate in view.results.gates)
    for gate in view.results.relative_gates:
        yield Text(relative_gate_line(gate), _GATE_STYLE[gate.passed])


def tables(view: RunView, *, width: int, ascii_only: bool = False) -> Iterator[RenderableType]:
    """Give the tables of a run, each with what is to be said of it."""
    arrows = changed_arrows(view.results.comparison, ascii_only)
    for table in view.tables:
        yield from Grids(table, width, ascii_only, arrows).drawn()
        yield from _remarks(table)


def body(view: RunView, *, width: int, ascii_only: bool = False) -> Iterator[RenderableType]:
    """Give the summary of any run, live or stored, for a terminal with so many columns."""
    yield from (Text(each.text, _STATE_STYLE[each.state]) for each in view.outcomes)
    yield from tables(view, width=width, ascii_only=ascii_only)
    for weights in view.weights:
        yield from _weights(weights, ascii_only)
    for citation in dict.fromkeys(table.citation for table in view.tables if table.citation):
        yield Text(f"In brackets: published by {citation}, with the same definitions.", "dim")
    yield from gate_lines(view)
    yield from baseline_lines(view, ascii_only)
    compared = view.results.comparison
    told = [] if compared is None else compared.new_failures[:FLIPPED]
    if worst := view.worst(WORST, told=told):
        yield Text(
            f"Worst {'other ' if told else ''}cases, with mean probabilities before -> (after edit 1 ->) after", "bold"
        )
        for headline, details in worst:
            yield indented(headline, "red", 2)
            yield from (indented(line) for line in details)
    yield from (Text(line, "yellow") for line in view.not_scored)
    yield from (Text(f"note: {note}", "yellow") for note in notes_of(view.results.cases))
    if view.cached:
        yield Text(f"{view.cached} of {len(view.results.cases)} cases came from the store", "dim")
    yield from (Text(line, "dim") for line in view.times)


def _remarks(table: Table) -> Iterator[Text]:
    """Give what is to be said of a table, with an empty line behind it."""
    kinds = {"bold yellow": table.unreliable, "bold red": table.below, "dim": table.spreads}
    remarks = [Text(line, style) for style, lines in kinds.items() for line in lines]
    yield from [*remarks, Text()] if remarks else []


def _weights(table: WeightTable, ascii_only: bool) -> Iterator[RenderableType]:
    """Give the weights of an edited checkpoint that differ, and what is to be said of them."""
    grid = RichTable(title=table.title, title_justify="left", box=box.ASCII if ascii_only else box.SIMPLE_HEAD)
    for place, heading in enumerate(HEADINGS):
        grid.add_column(heading, justify="right" if place else "left", overflow="fold")
    for row in table.rows:
        grid.add_row(*map(Text, row))
    yield grid
    yield from (indented(line, "dim", 2) for line in table.below)


def _control(row: Row, name: str) -> str:
    return f" (no edit {percent(row.controlled[name].control.value)})" if name in row.controlled else ""


def write_lines(reporter: pytest.TerminalReporter, lines: Sequence[str]) -> None:
    """Write lines, with what the terminal's encoding lacks escaped."""
    encoding = getattr(reporter._tw._file, "encoding", None)
    for line in lines:
        reporter.write_line(encodable(line, encoding))
