"""``editpitfalls calibrate intervals``: how often the intervals of tables hold the true mean, and how wide they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.escaping import visible

from .runs import DEFAULT_STORE, StoreOption, SuiteOption, open_runs
from .show import print_json

if TYPE_CHECKING:
    from pytest_editpitfalls.calibration.intervals import CoverageRecord

UNCOVERED = 1
"""Exit status where the coverage is too low."""


def intervals(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN...]", help="Runs whose values are drawn from, besides invented ones.", show_default=False
        ),
    ] = None,
    published: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of the benchmark's files; their sizes of subjects and relations are used."
        ),
    ] = None,
    replications: Annotated[int, typer.Option(metavar="N", min=10, help="Samples for each figure.")] = 1000,
    cases: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=1, help="Cases in a sample; may be repeated. Default: 4, 10, 50, 200, 2000."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of everything.")] = 0,
    former: Annotated[
        bool,
        typer.Option("--former", help="Simulate Wilson's and BCa intervals (the latter up to 200 cases) beside them."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print tables as docs/intervals.md has them.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures, a line of JSON each.")] = None,
    store: StoreOption = DEFAULT_STORE,
    suite: SuiteOption = None,
) -> None:
    """Simulate the 95 % intervals of means: in at least 93 % of the samples they hold the true mean.

    Exit status 1 where one covers less by more than two standard errors.
    """
    if as_json and markdown:
        raise UsageError("--json and --markdown are both given", fix="give one of them")
    from pytest_editpitfalls.calibration import case_values
    from pytest_editpitfalls.calibration.intervals import calibrate_intervals
    from pytest_editpitfalls.outputs import check_writable, write_text

    if out is not None:
        check_writable(out, where="--out")

    records = calibrate_intervals(
        case_values.stored(open_runs(runs, store, suite or ())) if runs else (),
        case_values.published(published) if published is not None else (),
        cases=cases or (),
        replications=replications,
        seed=seed,
        former=former,
        progress=None if as_json or markdown else _show_record,
    )
    if out is not None:
        lines = [f"{record.model_dump_json(exclude_none=True)}\n" for record in records]
        write_text("".join(lines), out, where="--out")
    short = sum(not record.holds for record in records)
    if as_json:
        print_json([record.model_dump(mode="json") | {"holds": record.holds} for record in records])
    elif markdown:
        typer.echo(coverage_markdown(records), nl=False)
    else:
        typer.echo(f"{len(records) - short} of {len(records)} cover")
    if short:
        raise typer.Exit(UNCOVERED)


def coverage_markdown(records: Sequence[CoverageRecord]) -> str:
    """Return a Markdown table for each structure: coverage and width, by population and number of cases."""
    parts = []
    for structure, found in groupby(records, key=lambda record: record.structure):
        members = list(found)
        counts = sorted({record.cases for record in members})
        head = ["values", "correlation", *(f"n = {count:,}" for count in counts)]
        lines = [f"**{structure}**", "", _line(head), _line(["---", *["---:"] * (len(head) - 1)])]
        for (name, correlation), row in groupby(members, key=lambda record: (record.population, record.correlation)):
            cells = {record.cases: _cell(record) for record in row}
            shown = "-" if correlation is None else f"{correlation:g}"
            lines.append(_line([name, shown, *(cells.get(count, "") for count in counts)]))
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _cell(record: CoverageRecord) -> str:
    text = f"{100 * record.coverage:.1f} ({_width(record.width)})"
    if record.former_coverage is None:
        return text
    flat = f", no width in {100 * record.former_flat:.0f} %" if record.former_flat else ""
    return f"{text}; before: {100 * record.former_coverage:.1f} ({_width(record.former_width)}{flat})"


def _width(width: float | None) -> str:
    return "open" if width is None else f"{width:.3f}" if width < 0.1 else f"{width:.2f}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _show_record(record: CoverageRecord) -> None:
    clusters = "" if record.correlation is None else f", correlation {record.correlation:g}"
    text = (
        f"{'ok  ' if record.holds else 'FAIL'} {record.population}; {record.structure}{clusters}; "
        f"n = {record.cases:,}: covers {100 * record.coverage:.1f} %, width {_width(record.width)}"
    )
    if 0 < record.open < 1:
        text += f" ({100 * record.open:.0f} % open)"
    if record.former_coverage is not None:
        text += f"; before {100 * record.former_coverage:.1f} %, width {_width(record.former_width)}"
        if record.former_flat:
            text += f", none in {100 * record.former_flat:.0f} %"
    typer.echo(visible(text))
