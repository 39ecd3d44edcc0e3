"""Commands with examples below their help. A test reads each example as the command line that it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from rich.markup import escape

F = TypeVar("F", bound=Callable[..., Any])

PROMPT = "$ "


def examples(*lines: str) -> str:
    """Return what stands below the help of a command or a group: a heading, and a line for each example."""
    return "\n".join([f"Example{'s' if len(lines) > 1 else ''}:", *(f"  {PROMPT}{escape(line)}" for line in lines)])


def command(app: typer.Typer, *lines: str, name: str | None = None, text: str | None = None) -> Callable[[F], F]:
    """Make a function a command of ``app``.

    Args:
        lines: its examples.
        name: where it is not called as the function is.
        text: its help; default: the docstring, in which the ends of lines within a paragraph mean nothing.
    """

    def add(function: F) -> F:
        paragraphs = (text or inspect.getdoc(function) or "").split("\n\n")
        words = "\n\n".join(" ".join(each.split()) for each in paragraphs)
        app.command(name, help=words, epilog=examples(*lines))(function)
        return function

    return add
