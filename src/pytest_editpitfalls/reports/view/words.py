"""Numbers, marks and times as reports write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_editpitfalls.results.records import MetricAggregate

MARK = "!"
"""Stands beside figures of an editor that hardly edits."""

TOO_FEW = "n too small"
"""Stands in the place of an interval that says nothing."""


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as per cent, "-" where it is unknown; what rounds to zero has no sign."""
    return "-" if value is None else f"{round(100 * value, digits) + 0.0:.{digits}f}"


def plain(value: float | None) -> str:
    """Return a value of one case as it is, with three digits, as thresholds write it; "-" where it is unknown."""
    return "-" if value is None else f"{value:.3g}"


def ends(low: float | None, high: float | None, write: Callable[[float], str] = "{:.4g}".format) -> str:
    """Return an interval in brackets, "" where there is none; a missing end is infinitely far out."""
    if low is None and high is None:
        return ""
    return f"[{'-inf' if low is None else write(low)}, {'inf' if high is None else write(high)}]"


def lift(cell: MetricAggregate, digits: int = 1, between: str = " ") -> str:
    """Return a difference in points with its sign and its confidence interval."""
    if cell.value is None:
        return "-"
    value, low, high = (
        None if each is None else f"{round(100 * each, digits) + 0.0:+.{digits}f}"
        for each in (cell.value, cell.low, cell.high)
    )
    return f"{value}{between}{TOO_FEW if None in (low, high) else f'[{low}, {high}]'}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: "1 gate", "2 gates"; ``plural`` where that has more than an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def time_line(timings: Mapping[str, float | None], wall: float | None, summed: bool) -> str:
    """Return where the time (stage -> seconds) went, longest first; "" where nothing is known.

    Where the stages are summed over several processes, there is no rest of the wall time to name.
    """
    known = {stage: seconds for stage, seconds in timings.items() if seconds is not None}
    parts = [f"{stage} {seconds:.1f} s" for stage, seconds in sorted(known.items(), key=lambda p: -p[1])]
    if wall is None:
        return ", ".join(parts)
    rest = wall - sum(known.values())
    if not summed and rest >= 0.05:
        parts.append(f"pytest and the rest {rest:.1f} s")
    text = f"{wall:.1f} s: {', '.join(parts)}" if parts else f"{wall:.1f} s"
    return f"{text} (stages summed over workers)" if summed and parts else text


def first_result_line(stages: Mapping[str, float | None]) -> str:
    """Return how long the first result took and where that time went, in the order in which it was spent.

    ``stages`` has stage -> seconds, and "total"; "" is returned where that is not known.
    """
    total = stages.get("total")
    if total is None:
        return ""
    spent = {stage: seconds for stage, seconds in stages.items() if stage != "total" and seconds is not None}
    parts = [f"{stage} {seconds:.1f} s" for stage, seconds in spent.items()]
    rest = total - sum(spent.values())
    if parts and rest >= 0.05:
        parts.append(f"pytest and the rest {rest:.1f} s")
    return f"first result after {total:.1f} s{': ' if parts else ''}{', '.join(parts)}"
