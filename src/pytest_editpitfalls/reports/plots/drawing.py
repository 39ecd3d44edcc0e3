"""What the figures are drawn with and written to: style, panels, dots with intervals, boxes, one legend, files."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.results.records import MetricAggregate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "font.family": ["DejaVu Serif"],
    "font.size": 8,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "path",
    "text.parse_math": False,  # a label with dollars is no formula
    "svg.hashsalt": "editpitfalls",  # the same file from the same run
}

_WIDTH = 7.0
"""Inches: two columns of a paper."""

_MARKERS = "osD^vP*X"


def dots(
    axes: Axes,
    place: int,
    count: int,
    cells: Sequence[tuple[float, MetricAggregate]],
    *,
    factor: float = 100.0,
    spread: float = 0.7,
    line: bool = False,
    upright: bool = True,
) -> None:
    """Draw means with their intervals, times ``factor``, side by side with those of other editors."""
    shift = _shift(place, count, spread)
    at = [x + shift for x, _ in cells]
    means = [factor * (cell.value or 0.0) for _, cell in cells]
    around: list[list[float]] = [[], []]
    for mean, (_, cell) in zip(means, cells, strict=True):
        # one whisker alone would say that the other side is sure; max: rounding
        low, high = (mean, mean) if cell.low is None or cell.high is None else (factor * cell.low, factor * cell.high)
        around[0].append(max(0.0, mean - low))
        around[1].append(max(0.0, high - mean))
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


def rows_of_panels(
    groups: Sequence[Sequence[float]], *, at_most: float, height: float = 2.4
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure with panels of different widths, and the panels of each group.

    Args:
        groups: the widths of the panels of each group, which stand in one row.
        at_most: widths that a row takes; a group that is wider has a row of its own.
    """
    from matplotlib.figure import Figure

    rows: list[list[int]] = []
    for place, widths in enumerate(groups):
        if rows and sum(sum(groups[other]) for other in rows[-1]) + sum(widths) <= at_most:
            rows[-1].append(place)
        else:
            rows.append([place])
    totals = [sum(sum(groups[place]) for place in row) for row in rows]
    figure = Figure(figsize=(_WIDTH, height * len(rows) + 0.4))
    lines = figure.add_gridspec(len(rows), 1)
    found: list[list[Axes]] = []
    for number, (row, total) in enumerate(zip(rows, totals, strict=True)):
        widths = [width for place in row for width in groups[place]]
        rest = max(totals) - total  # a shorter row is not stretched
        ratios = [*widths, rest] if rest > 1e-9 else widths
        cells = iter(lines[number].subgridspec(1, len(ratios), width_ratios=ratios))
        found += [[figure.add_subplot(next(cells)) for _ in groups[place]] for place in row]
    return figure, found


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


def folded(text: str, width: int, *, breaks: bool = True) -> str:
    """Return data as a label of several lines, cut where it is long; ``breaks``: within a word that is too long."""
    return textwrap.fill(visible(text, at_most=100), width, break_on_hyphens=False, break_long_words=breaks)


def counted(counts: Iterable[int]) -> str:
    """Return how many cases something is of: "n = 40", or "n = 38 to 40" where that is not one number."""
    least, most = min(known := list(counts)), max(known)
    return f"n = {least}" if least == most else f"n = {least} to {most}"


def write_figures(
    drawers: Mapping[str, Callable[[], Figure | None]],
    out: Path,
    file_format: str | None = None,
    *,
    where: str,
) -> list[Path]:
    """Draw and write figures.

    Args:
        drawers: name of a figure -> what draws it; that gives None where there is nothing to draw.
        out, file_format: as in `of_runs.write_plots`.
        where: the command or option, for messages.

    Raises:
        UsageError: matplotlib is not installed, an unknown format, nothing to draw, or it cannot be written.
    """
    try:
        from matplotlib import rc_context
    except ImportError:
        fix = 'pip install "pytest-editpitfalls[plots]"'
        raise UsageError("plots need matplotlib, which is not installed", where=where, fix=fix) from None
    is_file = out.suffix.lower().lstrip(".") in FORMATS and not out.is_dir()
    kind = (file_format or (out.suffix.lstrip(".") if is_file else "png")).lower()
    if kind not in FORMATS:
        raise UsageError(f"unknown format '{kind}'", where=where, fix=did_you_mean(kind, FORMATS))
    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a label may have signs that the font lacks
        drawn = {name: draw() for name, draw in drawers.items()}
        made = {name: figure for name, figure in drawn.items() if figure is not None}
        if not made:
            what = f"the runs have no figures for {', '.join(drawers)}"
            raise UsageError(what, where=where, fix="name runs with scored cases")
        if is_file and kind != "pdf" and len(made) > 1:
            raise UsageError(
                f"'{out}' can hold one plot, and there are {len(made)}: {', '.join(made)}",
                where=where,
                fix="choose one with --plot, or name a directory or a PDF file",
            )
        try:
            return _save(made, out, kind, is_file)
        except OSError as error:
            what = f"cannot write '{out}': {error.strerror}"
            raise UsageError(what, where=where, fix="name a place that you may write to") from None


def _save(drawn: Mapping[str, Figure], out: Path, kind: str, is_file: bool) -> list[Path]:
    dated = {"png": "Software", "pdf": "CreationDate", "svg": "Date"}[kind]
    if is_file and kind == "pdf":
        from matplotlib.backends.backend_pdf import PdfPages

        with PdfPages(out, metadata={dated: None}) as pages:
            for figure in drawn.values():
                pages.savefig(figure)
        return [out]
    if not is_file:
        out.mkdir(parents=True, exist_ok=True)
    files = [out if is_file else out / f"{name}.{kind}" for name in drawn]
    for path, figure in zip(files, drawn.values(), strict=True):
        figure.savefig(path, format=kind, metadata={dated: None})
    return files
