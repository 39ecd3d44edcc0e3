"""A table of figures on a terminal, in the form that says most within its width.

Every form has all figures. In one grid, intervals stand beside the values or, where that is too wide, below them. Then
the columns are shared out to several grids. Where not even one column fits, each value has a line.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from pytest_editpitfalls.escaping import visible

from .view.kinds import figure
from .view.tables import Controlled, Row, Table
from .view.verdicts import Arrows
from .view.words import MARK, lift, percent


def marked(row: Row) -> str:
    """Return the name of a row's suite, with a mark where its figures say little."""
    return f"{row.suite} {MARK}" if row.reliable is False else row.suite


def indented(line: str, style: str = "", by: int = 4) -> Padding:
    """Return an indented line; where it is wrapped, the rest is indented as well."""
    return Padding(Text(line, style), (0, 0, 0, by))


class Grids:
    """The forms of one table.

    Args:
        width: columns of the terminal.
        arrows: what goes before a value that changed against a baseline.
    """

    def __init__(self, table: Table, width: int, ascii_only: bool, arrows: Arrows) -> None:
        self._table = table
        self._width = width
        self._arrows = arrows
        self._box = box.ASCII if ascii_only else box.SIMPLE_HEAD
        self._measure = Console(file=io.StringIO(), width=10_000, legacy_windows=False)

    def drawn(self) -> list[RenderableType]:
        """Return the first form that fits."""
        for between, digits in ((" ", 1), ("\n", 1), ("\n", 0)):
            grid = self._grid(self._table, between, digits)
            if self._fits(grid):
                return [Text(self._title, "bold"), grid]
        for between in (" ", "\n"):
            if grids := self._shared_out(between):
                return [Text(self._title, "bold"), *grids]
        return list(self._lines())

    def _fits(self, grid: RichTable) -> bool:
        return self._measure.measure(grid).maximum <= self._width

    def _shared_out(self, between: str) -> list[RichTable]:
        """Share the columns out to grids that fit, with intervals in whole per cent; nothing where one is too wide."""
        grids: list[RichTable] = []
        left = list(self._table.columns)
        while left:
            found = None
            for count in range(1, len(left) + 1):
                grid = self._grid(self._with_columns(left[:count], every_row=not grids), between, 0, counts=not grids)
                if not self._fits(grid):
                    break
                found = count, grid
            if found is None:
                return []
            left = left[found[0] :]
            grids.append(found[1])
        return grids

    def _with_columns(self, names: Iterable[str], *, every_row: bool) -> Table:
        """The table with these columns; with the rows that have none of them only where every row is wanted."""
        columns = {name: self._table.columns[name] for name in names}
        rows = [row for row in self._table.rows if every_row or any(name in row.cells for name in columns)]
        return replace(self._table, columns=columns, rows=rows)

    @cached_property
    def _own(self) -> Sequence[Row]:
        return [row for row in self._table.rows if not row.published]

    @cached_property
    def _named(self) -> Mapping[str, str]:
        """Heading -> the only name below it, which the title says to leave room; "" where there are several."""
        found = {"editor": {row.editor for row in self._own}, "model": {row.model for row in self._own}}
        return {heading: next(iter(names)) if len(names) == 1 else "" for heading, names in found.items()}

    @property
    def _title(self) -> str:
        editor, model = self._named["editor"], self._named["model"]
        who = f", {editor}" * bool(editor) + (f" on {model}" if editor else f", on {model}") * bool(model)
        return visible(f"{self._table.title} (%){who}")

    def _grid(self, table: Table, between: str, digits: int, *, counts: bool = True) -> RichTable:
        """Return one grid; ``counts``: with the numbers of cases."""
        grid = RichTable(box=self._box)
        headings = [heading for heading, only in self._named.items() if not only]
        for heading in ("suite", *headings):
            grid.add_column(heading, no_wrap=True)
        for heading in (*(("n", "held") if counts else ()), *table.columns.values()):
            grid.add_column(heading, justify="right", no_wrap=True)
        for row in table.rows:
            name = f"({row.model})" if row.published and self._named["model"] else _name(row)
            names = [name, *(getattr(row, heading) for heading in headings)]
            cells = [_cell(row, metric, between, digits, self._arrows) for metric in table.columns]
            style = "dim" if row.published else "yellow" if row.reliable is False else None
            grid.add_row(
                *(Text(visible(text)) for text in names),
                *((str(row.n), row.held) if counts else ()),
                *cells,
                style=style,
            )
            for title, beside in _beside(row, table, between, digits):
                grid.add_row(title, *[""] * (len(headings) + 2 * counts), *beside)
        return grid

    def _lines(self) -> Iterator[RenderableType]:
        """Give a line for each value."""
        yield Text(f"{self._table.title} (%)", "bold")
        for row in self._table.rows:
            held = f", held {row.held}" if row.held else ""
            yield Text(visible(f"{_name(row)}, {row.editor} on {row.model}: n {row.n}{held}"))
            for name, title in self._table.columns.items():
                if name in row.cells:
                    yield Text(f"  {title} {_cell(row, name, ' ', 1, self._arrows)}")
                    if (beside := row.controlled.get(name)) is not None:
                        text = f"no edit {percent(beside.control.value)}, lift {lift(beside.lift)}"
                        yield indented(text, _lift_style(beside))


def _beside(row: Row, table: Table, between: str, digits: int) -> Iterator[tuple[str, list[Text]]]:
    """Give what stands below a line: each score without any edit, and the lift over that."""
    if not any(name in row.controlled for name in table.columns):
        return
    known = [row.controlled.get(name) for name in table.columns]
    yield "  no edit", [Text("" if each is None else percent(each.control.value), "dim") for each in known]
    yield (
        "  lift",
        [Text("") if each is None else Text(lift(each.lift, digits, between), _lift_style(each)) for each in known],
    )


def _lift_style(each: Controlled) -> str:
    return "bold red" if each.is_worse else "yellow" if each.is_below else ""


def _name(row: Row) -> str:
    return "(published)" if row.published else f"  {row.part}" if row.part else marked(row)


def _cell(row: Row, name: str, between: str, digits: int, arrows: Arrows) -> str:
    if name not in row.cells:
        return ""
    value, around = figure(name, row.cells[name].value), row.interval(name, digits)
    if not row.published and not row.part:
        value = arrows.get((*row.group, name), "") + value
    return f"{value}{between}{around}" if around else value
