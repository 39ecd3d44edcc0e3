"""What commands print: drawn for the terminal that there is, in what its encoding can say."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import typer
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pytest_editpitfalls.escaping import encodable, visible
from pytest_editpitfalls.reports.terminal import drawn, is_ascii

T = TypeVar("T")


def encoding() -> str | None:
    """Return the encoding of the output, where it has one."""
    return getattr(sys.stdout, "encoding", None)


def box_for_output() -> box.Box:
    """Return lines for a table that the output's encoding can say."""
    return box.ASCII if is_ascii(encoding()) else box.SIMPLE_HEAD


def fits(table: Table, width: int) -> bool:
    """Whether every cell of a table has room in so many columns without being wrapped."""
    return Console(width=10_000).measure(table).maximum <= width


def shared_out(parts: Sequence[T], table_of: Callable[[Sequence[T]], Table]) -> Iterator[Table]:
    """Yield as few tables as have room, each of some ``parts`` (columns, or what makes several), in order."""
    width, left = Console().width, list(parts)
    while left:
        taken = next((n for n in range(len(left), 1, -1) if fits(table_of(left[:n]), width)), 1)
        yield table_of(left[:taken])
        left = left[taken:]


def metric_table(title: str) -> Table:
    """Return a table with one line per metric, which has that column alone so far."""
    table = Table(
        title=Text(visible(title), "bold", justify="left"),
        title_justify="left",
        box=box_for_output(),
    )
    table.add_column("metric")
    return table


def show(renderables: Iterable[RenderableType]) -> None:
    """Print what rich draws; colours where the output is a terminal (and ``NO_COLOR`` is not set)."""
    terminal = Console()
    lines = drawn(
        renderables,
        width=terminal.width,
        force_terminal=terminal.is_terminal,
        color_system="standard" if terminal.color_system else None,
        no_color=terminal.no_color,
    )
    typer.echo(encodable("\n".join(lines), encoding()))


def print_json(value: Any) -> None:
    """Print plain JSON types."""
    typer.echo(json.dumps(value, indent=2))
