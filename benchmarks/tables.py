"""Markdown tables of the measured figures, and numbers as they are written in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the first column is text, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None, form: str = ",.1f", unit: str = "") -> str:
    """The number as text, "-" where there is none."""
    return "-" if value is None else f"{value:{form}}{unit}"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"
