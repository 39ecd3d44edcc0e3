"""What commands print: drawn for the terminal that there is, in what its encoding can say."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable

import typer
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pytest_editpitfalls.escaping import encodable, visible


def console_width() -> int:
    """Return the columns of the terminal; those of ``COLUMNS`` or 80 where there is none."""
    return Console().width


def is_ascii() -> bool:
    """Whether the output has no box drawing and no arrows."""
    return not (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")


def metric_table(title: str) -> Table:
    """Return a table with one line per metric, which has that column alone so far."""
    table = Table(
        title=Text(visible(title), "bold", justify="left"),
        title_justify="left",
        box=box.ASCII if is_ascii() else box.SIMPLE_HEAD,
    )
    table.add_column("metric")
    return table


def show(renderables: Iterable[RenderableType]) -> None:
    """Print what rich draws; colours where the output is a terminal (and ``NO_COLOR`` is not set)."""
    terminal = Console()
    console = Console(
        file=io.StringIO(),
        width=terminal.width,
        force_terminal=terminal.is_terminal,
        color_system="standard" if terminal.color_system else None,
        no_color=terminal.no_color,
        legacy_windows=False,
        emoji=False,
        markup=False,
    )
    for renderable in renderables:
        console.print(renderable, highlight=False)
    file = console.file
    assert isinstance(file, io.StringIO)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    typer.echo(encodable("\n".join(lines), getattr(sys.stdout, "encoding", None)))
