"""What the figures are drawn with: panels, dots with intervals, boxes, one legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.results.records import MetricAggregate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 7.0
"""Inches: two columns of a paper."""

_MARKERS = "osD^vP*X"


def dots(
    axes: Axes,
    place: int,
    count: int,
    cells: Sequence[tuple[float, MetricAggregate]],
    *,
    spread: float = 0.7,
    line: bool = False,
    upright: bool = True,
) -> None:
    """Draw means with their intervals, in per cent, side by side with those of other editors."""
    shift = _shift(place, count, spread)
    at = [x + shift for x, _ in cells]
    means = [100 * (cell.value or 0.0) for _, cell in cells]
    around = [
        [mean - (mean if cell.low is None else 100 * cell.low) for mean, (_, cell) in zip(means, cells, strict=True)],
        [(mean if cell.high is None else 100 * cell.high) - mean for mean, (_, cell) in zip(means, cells, strict=True)],
    ]
    around = [[max(0.0, length) for length in side] for side in around]  # rounding
    style = {
        "fmt": ("-" if line else "") + _MARKERS[place % len(_MARKERS)],
        "color": _colour(place),
        "markersize": 4,
        "linewidth": 0.9,
        "capsize": 1.5,
    }
    if upright:
        axes.errorbar(at, means, yerr=around, **style)
    else:
        axes.errorbar(means, at, xerr=around, **style)


def boxes(axes: Axes, place: int, count: int, known: Sequence[tuple[float, Sequence[float]]]) -> None:
    """Draw medians, quartiles and the 5th and 95th percentile, side by side with those of other editors."""
    width = 0.7 / count
    parts = axes.boxplot(
        [values for _, values in known],
        positions=[x + _shift(place, count, 0.7) for x, _ in known],
        widths=0.85 * width,
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        manage_ticks=False,
        medianprops={"color": "black", "linewidth": 1.0},
        whiskerprops={"linewidth": 0.6},
        capprops={"linewidth": 0.6},
        boxprops={"linewidth": 0.6},
    )
    for box in parts["boxes"]:
        box.set_facecolor(_colour(place))


def _shift(place: int, count: int, spread: float) -> float:
    return 0.0 if count == 1 else spread * ((place + 0.5) / count - 0.5)


def _colour(place: int) -> Any:
    from matplotlib import colormaps

    return colormaps["tab20"]((2 * place + place // 10) % 20)


def panels(count: int, *, columns: int, height: float = 2.4) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels."""
    from matplotlib.figure import Figure

    wide = min(columns, count)
    high = -(-count // wide)
    figure = Figure(figsize=(_WIDTH, height * high + 0.4))
    grid = figure.subplots(high, wide, squeeze=False)
    drawn = list(grid.flat)
    for empty in drawn[count:]:
        empty.set_visible(False)
    return figure, drawn[:count]


def legend(figure: Figure, labels: Sequence[str]) -> None:
    """Put one legend for all panels on top; the colours are those of `dots` and `boxes`."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=_colour(place), marker=_MARKERS[place % len(_MARKERS)], linestyle="")
        for place, _ in enumerate(labels)
    ]
    # given afterwards: matplotlib leaves out what begins with an underscore
    drawn = figure.legend(handles, ["x"] * len(labels), loc="outside upper center", ncols=min(4, len(labels)))
    for text, label in zip(drawn.get_texts(), labels, strict=True):
        text.set_text(label)


def label(text: str) -> str:
    """Return data as a label: control characters are shown, and a long one is cut."""
    return visible(text, at_most=60)
