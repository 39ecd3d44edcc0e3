"""``editpitfalls calibrate gates|intervals``: do they keep what they promise? Simulations, shown as they go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.escaping import visible

from .calibrate_intervals import intervals
from .compare import paired
from .examples import command, examples
from .runs import DEFAULT_STORE, StoreOption, SuiteOption, open_runs
from .show import print_json

if TYPE_CHECKING:
    from pytest_editpitfalls.calibration.gates import CalibrationRecord
    from pytest_editpitfalls.calibration.runs import RunCalibrationRecord

BROKEN = 1
"""Exit status where a promise does not hold."""

_SYNTHETIC, _STORED = 2000, 500


class _GatesByDefault(TyperGroup):
    """`calibrate` alone, with or without runs, calibrates gates: so it was called before there were intervals."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["gates", *args]
        return super().parse_args(ctx, args)


calibrate_app = typer.Typer(
    cls=_GatesByDefault,
    help="Simulate gates or intervals: do they keep what they promise? Alone: gates.",
    epilog=examples("editpitfalls calibrate gates --replications 100", "editpitfalls calibrate intervals --cases 50"),
)
command(
    calibrate_app,
    "editpitfalls calibrate intervals --cases 50 --replications 200",
    "editpitfalls calibrate intervals --markdown --out intervals.jsonl",
)(intervals)


@command(
    calibrate_app,
    "editpitfalls calibrate gates --replications 100",
    "editpitfalls calibrate gates before.json after.json --plot gates.png",
)
def gates(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BASE NOW]",
            help="Two runs whose cases are drawn from; without them populations are invented.",
            show_default=False,
        ),
    ] = None,
    replications: Annotated[
        int | None, typer.Option(metavar="N", min=10, help=f"Default: {_SYNTHETIC}; {_STORED} with runs.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of everything.")] = 0,
    clusters: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=2, help="With runs: subjects in a sample; may be repeated."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help='Draw the figures, too (needs the extra "plots").'),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    store: StoreOption = DEFAULT_STORE,
    suite: SuiteOption = None,
) -> None:
    """Simulate gates: at most 5 % false fails at a drop of the margin, 80 % found at the printed size.

    And whole runs that change nothing: how many fail, by how often cases flip. Exit status 1 where a gate's share is
    worse than that by more than two standard errors.
    """
    from pytest_editpitfalls.calibration.gates import calibrate_stored, calibrate_synthetic
    from pytest_editpitfalls.calibration.runs import calibrate_runs

    progress = None if as_json else _show_record
    reruns: list[RunCalibrationRecord] = []
    if runs:
        if len(runs) != 2:
            raise UsageError(
                f"{len(runs)} run(s) are given", where="editpitfalls calibrate gates", fix="give two, or none"
            )
        first, second = open_runs(runs, store, suite or ())
        records = calibrate_stored(
            paired(first, second),
            replications=replications or _STORED,
            seed=seed,
            clusters=clusters or (),
            progress=progress,
        )
    else:
        if clusters:
            raise UsageError(
                "--clusters needs two runs", where="editpitfalls calibrate gates", fix="give them, or drop it"
            )
        records = calibrate_synthetic(replications=replications or _SYNTHETIC, seed=seed, progress=progress)
        reruns = calibrate_runs(
            replications=replications or _SYNTHETIC, seed=seed, progress=None if as_json else _show_rerun
        )
    if plot is not None:
        from pytest_editpitfalls.reports.plots.calibration import write_calibration_plot

        write_calibration_plot(records, plot)
    broken = sum(not record.holds for record in records)
    if as_json:
        of_gates = [record.model_dump(mode="json") | {"holds": record.holds} for record in records]
        print_json(of_gates + [record.model_dump(mode="json") | {"holds": record.holds} for record in reruns])
    else:
        typer.echo(f"{len(records) - broken} of {len(records)} hold")
        if reruns:
            kept = sum(record.holds for record in reruns)
            typer.echo(f"{kept} of {len(reruns)} kinds of reruns fail in 5 % of the cases at most")
    if broken:
        raise typer.Exit(BROKEN)


def _show_record(record: CalibrationRecord) -> None:
    family = "" if record.gates == 1 else f", {record.gates} gates"
    text = (
        f"{'ok  ' if record.holds else 'FAIL'} {record.population}, {record.clusters} clusters{family}, "
        f"margin {100 * record.margin:.3g} pp: {100 * record.false_fails:.1f} % false fails"
    )
    if record.size is not None and record.found is not None:
        text += f"; {100 * record.found:.0f} % found at {100 * record.size:.1f} pp"
    elif record.without_size:
        text += "; no size is found"
    typer.echo(visible(text))


def _show_rerun(record: RunCalibrationRecord) -> None:
    changed = f", drop {100 * record.drop:.3g} pp" if record.drop else ""
    changed += f", {100 * record.untaken:.3g} % no longer take" if record.untaken else ""
    text = (
        f"{'ok  ' if record.holds else 'over'} rerun: {record.population}, {record.clusters} clusters, "
        f"{record.cases:.0f} cases, {' '.join(record.gates)}, inconclusive={record.inconclusive}{changed}: "
        f"{100 * record.run_fails:.1f} % of the runs fail ({100 * record.gate_fails:.1f} % by a gate, "
        f"{100 * record.undecided:.0f} % undecided)"
    )
    typer.echo(visible(text))
