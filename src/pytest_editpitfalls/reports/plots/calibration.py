"""The figure of a calibration: false fails and finds of simulated gates, against what is promised."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_editpitfalls.statistics.drops import LEVEL, POWER

from .drawing import panels, write_figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pytest_editpitfalls.calibration.gates import CalibrationRecord

WHERE = "editpitfalls calibrate --plot"


def write_calibration_plot(records: Sequence[CalibrationRecord], out: Path) -> list[Path]:
    """Draw the shares with two standard errors, by the number of clusters: gates alone, and families.

    ``out`` is a PNG, PDF or SVG file, or a directory for ``calibration.png``; raises as `write_figures`.
    """
    return write_figures({"calibration": partial(_figure, records)}, out, where=WHERE)


def _figure(records: Sequence[CalibrationRecord]) -> Figure | None:
    if not records:
        return None
    figure, (left, right) = panels(2, columns=2, height=2.8)
    for several, colour, title in ((False, "tab:blue", "one gate"), (True, "tab:red", "several gates")):
        members = [record for record in records if (record.gates > 1) is several]
        if shares := [(record.clusters, record.false_fails, record.false_fails_error) for record in members]:
            _points(left, shares, colour, title)
    found = [
        (record.clusters, record.found, record.found_error or 0.0) for record in records if record.found is not None
    ]
    if found:
        _points(right, found, "tab:blue", "one gate")
    left.axhline(100 * LEVEL, color="black", linewidth=0.8, linestyle="--")
    right.axhline(100 * POWER, color="black", linewidth=0.8, linestyle="--")
    left.set_title("Fails at a true drop of the margin, %")
    right.set_title("Fails at a true drop of the printed size, %")
    left.set_ylim(bottom=0)
    right.set_ylim(0, 103)
    counts: list[int] = []
    for count in sorted({record.clusters for record in records}):
        if not counts or count > 1.2 * counts[-1]:  # no label over another
            counts.append(count)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts], minor=False)
        axes.set_xticks([], minor=True)
        axes.set_xlabel("subjects")
    left.legend()
    return figure


def _points(axes: Axes, shares: Sequence[tuple[int, float, float]], colour: str, title: str) -> None:
    """Draw shares beside each other where they have the same number of clusters."""
    seen: dict[int, int] = {}
    at = []
    for clusters, _, _ in shares:
        seen[clusters] = seen.get(clusters, -1) + 1
        at.append(clusters * (1 + 0.012 * seen[clusters]))
    axes.errorbar(
        at,
        [100 * share for _, share, _ in shares],
        yerr=[200 * error for _, _, error in shares],
        fmt="o",
        color=colour,
        markersize=2.5,
        linewidth=0.6,
        label=title,
    )
