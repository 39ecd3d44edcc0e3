"""Numbers and marks as reports write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_editpitfalls.results.records import MetricAggregate

MARK = "!"
"""Stands beside figures of an editor that hardly edits."""


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as per cent, "-" where it is unknown."""
    return "-" if value is None else f"{100 * value:.{digits}f}"


def interval(cell: MetricAggregate, digits: int = 1) -> str:
    """Return the confidence interval in per cent, "" where there is none."""
    if cell.low is None or cell.high is None:
        return ""
    return f"[{percent(cell.low, digits)}, {percent(cell.high, digits)}]"


def count(number: int, noun: str) -> str:
    """Return a number with its noun: "1 gate", "2 gates"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
