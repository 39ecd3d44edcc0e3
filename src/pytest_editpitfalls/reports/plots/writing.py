"""The style of all plots, and their files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.errors import UsageError, did_you_mean

if TYPE_CHECKING:
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
    _needs_matplotlib(where)
    is_file = out.suffix.lower().lstrip(".") in FORMATS and not out.is_dir()
    kind = (file_format or (out.suffix.lstrip(".") if is_file else "png")).lower()
    if kind not in FORMATS:
        raise UsageError(f"unknown format '{kind}'", where=where, fix=did_you_mean(kind, FORMATS))
    with _quiet_style():
        drawn = {name: draw() for name, draw in drawers.items()}
        made = {name: figure for name, figure in drawn.items() if figure is not None}
        if not made:
            raise UsageError(
                f"the runs have no figures for {', '.join(drawers)}",
                where=where,
                fix="name runs with scored cases",
            )
        if is_file and kind != "pdf" and len(made) > 1:
            raise UsageError(
                f"'{out}' can hold one plot, and there are {len(made)}: {', '.join(made)}",
                where=where,
                fix="choose one with --plot, or name a directory or a PDF file",
            )
        try:
            return _save(made, out, kind, is_file)
        except OSError as error:
            raise UsageError(
                f"cannot write '{out}': {error.strerror}",
                where=where,
                fix="name a place that you may write to",
            ) from None


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


@contextmanager
def _quiet_style() -> Iterator[None]:
    from matplotlib import rc_context

    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a label may have signs that the font lacks
        yield


def _needs_matplotlib(where: str) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError(
            "plots need matplotlib, which is not installed",
            where=where,
            fix='pip install "pytest-editpitfalls[plots]"',
        ) from None
