"""``editpitfalls noise``: how far figures differ by chance, from runs that differ in what should not matter."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from pytest_editpitfalls.engine.models.placement import check_dtype
from pytest_editpitfalls.engine.settings import BF16_WEIGHTS
from pytest_editpitfalls.errors import UsageError, check_choice
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.options.editor_labels import MAX_SEED
from pytest_editpitfalls.reports.view.tables import Group
from pytest_editpitfalls.results.named import NamedRun
from pytest_editpitfalls.results.writer import read_results

from .runs import DEFAULT_STORE, RUN_HELP, StoreOption, open_runs
from .show import metric_table, print_json, shared_out, show

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from pytest_editpitfalls.comparison.noise import NoiseFloor, SourceNoise

WHERE = "editpitfalls noise"

VARIED = ("batch-size", "seed", "seeds", "dtype")
DEFAULT_VARIATIONS = ("batch-size=1", "seed=1", "dtype=bfloat16")
FIRST = "as asked"

_ENDED_WELL = (0, 1)
"""Exit statuses of pytest after a whole run: cases may fail."""
_TAIL = 15


def noise(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN...]", help=f"Runs that are there already. {RUN_HELP}", show_default=False),
    ] = None,
    editor: Annotated[str | None, typer.Option(metavar="EDITOR", help="Run this editor.")] = None,
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="Edit this model.")] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SUITE",
            help="With --editor: a suite to run. With RUN: the suite of a stored run's cases, where it is none of "
            "those that ship. May be repeated.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="At most N cases per suite.")] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help=f"One more run with another {', '.join(VARIED)}; may be repeated. "
            f"Default: {', '.join(DEFAULT_VARIATIONS)}.",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--pytest", metavar="OPTION", help="One more option of all runs; may be repeated."),
    ] = None,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the result files in DIR.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Measure the noise floor of every metric and suggest margins for gates relative to a baseline.

    Runs the editor several times, with another batch size, seed and number type; or takes runs that are there: one is
    enough where it has several seeds. What seeds do is told apart from rounding.
    """
    if bool(runs) == bool(editor):
        raise UsageError(
            "runs and an editor are both given" if runs else "nothing says what to run or to read",
            where=WHERE,
            fix="give --editor=NAME, or runs of the same cases: two, or one with --pitfalls-seeds",
        )
    if editor is None:
        for name, given in (("--model", model), ("--limit", limit), ("--vary", vary), ("--pytest", option)):
            if given:
                raise UsageError(f"{name} needs --editor", where=WHERE, fix="give both, or neither")
        found: Sequence[NamedRun] = open_runs(runs or (), store, suite or ())
    else:
        found = _run_all(editor, model, suite or (), limit, vary or DEFAULT_VARIATIONS, option or (), keep)
    _report(found, as_json)


def _report(runs: Sequence[NamedRun], as_json: bool) -> None:
    from pytest_editpitfalls.comparison.noise import noise_floor

    floors = noise_floor([run.results for run in runs])
    if as_json:
        print_json({"runs": [run.name for run in runs], "floors": [asdict(floor) for floor in floors]})
    else:
        show(_tables(floors))


def _tables(floors: Sequence[NoiseFloor]) -> Iterator[RenderableType]:
    groups: dict[Group, list[NoiseFloor]] = {}
    for floor in floors:
        groups.setdefault((floor.suite, floor.editor, floor.model), []).append(floor)
    for (suite, editor, model), members in groups.items():
        title = f"{suite}, {editor} on {model}, {members[0].runs} runs: largest difference of means, percentage points"
        moved = [floor for floor in members if floor.changed]
        columns = _columns(moved, list(dict.fromkeys(name for floor in members for name in floor.by_source)))
        if moved:
            yield from shared_out(list(columns.items()), partial(_table, title, moved))
        else:
            yield Text(visible(title), "bold")
        if same := [floor.metric for floor in members if not floor.changed]:
            yield Text(f"The same in every case of all runs: {', '.join(map(visible, same))}")
        yield from (Text(line) for line in _conclusions(members))
    yield Text("Each source: runs that differ in nothing else. gate: a margin above seeds and rounding together.")


def _columns(moved: Sequence[NoiseFloor], sources: Sequence[str]) -> dict[str, list[str]]:
    """Heading -> a cell for each metric."""
    return {
        **{
            name: [_points(found.largest if (found := each.by_source.get(name)) else None) for each in moved]
            for name in sources
        },
        "any two": [_points(each.largest) for each in moved],
        "sd of seeds": [_points(None if each.seed is None else each.seed.sd) for each in moved],
        "cases that change": [f"{each.changed} of {each.n}" for each in moved],
        "gate": ["-" if each.margin is None else f"{each.suite}.{each.metric}:{each.margin}" for each in moved],
    }


def _table(title: str, moved: Sequence[NoiseFloor], columns: Sequence[tuple[str, list[str]]]) -> Table:
    table = metric_table(title)
    for heading, _ in columns:
        table.add_column(Text(visible(heading)), justify="right", overflow="fold")
    for place, floor in enumerate(moved):
        table.add_row(floor.metric, *(Text(visible(cells[place])) for _, cells in columns))
    return table


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.3g}"


def _conclusions(floors: Sequence[NoiseFloor]) -> Iterator[str]:
    """Say which of the two kinds of noise the runs show nothing of."""
    seeds, rounding = ([each for floor in floors if (each := get(floor)) is not None] for get in (_seed, _rounding))
    if not seeds:
        yield "No two runs differ in the seed alone: what seeds do is not known (--pitfalls-seeds=5, or --vary seed=1)."
    elif all(each.largest == 0.0 for each in seeds):
        yield "Seeds change nothing here: what this editor draws does not reach these figures, or it draws nothing."
    if not rounding:
        yield "No two runs have one seed: what rounding does is not known (--vary batch-size=1, --vary dtype=bfloat16)."


def _seed(floor: NoiseFloor) -> SourceNoise | None:
    return floor.seed


def _rounding(floor: NoiseFloor) -> SourceNoise | None:
    return floor.rounding


def _run_all(
    editor: str,
    model: str | None,
    suites: Sequence[str],
    limit: int | None,
    variations: Sequence[str],
    options: Sequence[str],
    keep: Path | None,
) -> list[NamedRun]:
    """Run pytest once as asked and once for each variation, one after another, in processes of their own."""
    checked = [_checked(text) for text in variations]
    common = [f"--pitfalls-editor={editor}", *([f"--pitfalls-model={model}"] if model else [])]
    common += [f"--pitfalls-suite={name}" for name in suites]
    common += [*([f"--pitfalls-limit={limit}"] if limit is not None else []), *options]
    with tempfile.TemporaryDirectory(prefix="editpitfalls-noise-") as name:
        folder = Path(name)
        out = folder if keep is None else keep
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f"the directory '{out}' cannot be made: {error.strerror}"
            raise UsageError(what, where="--keep", fix="name another one") from None
        wanted = [(FIRST, ())] + [(text, (f"--pitfalls-{text}",)) for text in checked]
        found = []
        for place, (title, own) in enumerate(wanted):
            typer.echo(visible(f"run {place + 1} of {len(wanted)}: {title} ..."), err=True)
            path = out / f"noise-{place + 1}.json"
            started = time.perf_counter()
            # a store of its own each: what another run has computed must not come back as this one's
            _pytest([*common, *own, f"--pitfalls-store={folder / f'store-{place}'}", f"--pitfalls-json={path}"])
            results = read_results(path)
            typer.echo(f"  {len(results.cases)} cases in {time.perf_counter() - started:.1f} s", err=True)
            found.append(NamedRun(title, results))
    return found


def _pytest(options: Sequence[str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode not in _ENDED_WELL:
        tail = done.stdout.strip().splitlines()[-_TAIL:]
        raise _RunFailed(
            f"pytest ended with status {done.returncode}:\n" + "\n".join(tail),
            where=WHERE,
            fix="make the run work by itself first: pytest " + " ".join(options[:-2]),
        )


class _RunFailed(UsageError):
    """A run could not be made; its last lines are shown."""

    _keeps_lines = True


def _checked(text: str) -> str:
    name, equals, value = text.partition("=")
    check_choice(name, VARIED, what="variation", where="--vary")
    if not (equals and value):
        raise UsageError(f"'{text}' is not NAME=VALUE", where="--vary", fix="write for instance --vary seed=1")
    if name == "dtype":
        check_dtype(value, where=f"--vary {text}")
        _check_products(value, f"--vary {text}")
    elif (name, value) != ("batch-size", "auto"):
        least, most = (0, MAX_SEED) if name == "seed" else (1, None)
        if not value.isdecimal() or int(value) < least or (most is not None and int(value) > most):
            wanted = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"
            raise UsageError(f"'{value}' is not {wanted}", where=f"--vary {text}", fix=f"for instance --vary {name}=2")
    return text


def _check_products(dtype: str, where: str) -> None:
    """Refuse what this machine cannot multiply, before the first run and not at the second."""
    if dtype not in ("tf32", BF16_WEIGHTS):
        return
    from pytest_editpitfalls.engine.models import resolve_device, resolve_dtype

    try:
        resolve_dtype(dtype, resolve_device())
    except UsageError as error:
        raise UsageError(
            error.what, where=where, fix="vary another dtype, or run where there is such a device"
        ) from None
