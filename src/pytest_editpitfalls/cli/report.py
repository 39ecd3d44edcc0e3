"""``editpitfalls report``, ``plot``, ``table`` and ``export``: stored runs in every form."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.outputs import (
    STANDARD_OUTPUT,
    check_writable,
    is_standard_output,
    refuse_shared,
    write_text,
)
from pytest_editpitfalls.reports.formats import FORMATS
from pytest_editpitfalls.reports.terminal import body, drawn, is_ascii, tables
from pytest_editpitfalls.reports.view.run import RunView
from pytest_editpitfalls.results.named import NamedRun
from pytest_editpitfalls.results.records import RunResults

from .runs import DEFAULT_STORE, RunArgument, RunArguments, StoreOption, SuiteOption, open_run, open_runs
from .show import encoding, show

_FILE_WIDTH = 160
"""Columns of tables in a file."""


def report(
    run: RunArgument, store: StoreOption = DEFAULT_STORE, suite: SuiteOption = None, **paths: Path | None
) -> None:
    """Show a run again: on the terminal, or in the files that are named."""
    wanted = [(each, f"--{each.name}", path) for each in FORMATS if (path := paths.get(each.name)) is not None]
    for _, where, path in wanted:
        check_writable(path, where=where)
    refuse_shared([(where, path) for _, where, path in wanted], [("RUN", Path(run))])
    opened = open_run(run, store, suite or ())
    for each, where, path in wanted:
        each.write(opened.results, path, where)
    _say_written(path for _, _, path in wanted)
    if not wanted:
        view = RunView(opened.results)
        summary = body(view, width=Console().width, ascii_only=is_ascii(encoding()))
        # where an editor is known, its line says that no case was scored
        show(chain(() if view.outcomes else _nothing(view), summary, _properties(view)))


def _with_an_option_per_format(command: Callable[..., None]) -> None:
    """Let the command have an option for each form of report: it reads its parameters from the signature."""
    run, *others, _ = inspect.signature(command, eval_str=True).parameters.values()
    options = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                Path | None, typer.Option(metavar="PATH", help=f"{each.help[:1].upper()}{each.help[1:]}.")
            ],
        )
        for each in FORMATS
    ]
    others = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in others]
    command.__signature__ = inspect.Signature([run, *options, *others])  # type: ignore[attr-defined]


_with_an_option_per_format(report)


def plot(
    runs: RunArguments,
    out: Annotated[Path, typer.Option(metavar="DIR|FILE", help="Directory for all plots, or one file.")],
    file_format: Annotated[
        str | None,
        typer.Option("--format", metavar="png|pdf|svg", help="Default: the file's suffix, otherwise png."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--plot", metavar="NAME", help="Name of one plot, such as metrics or rules; may be repeated."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    suite: SuiteOption = None,
) -> None:
    """Draw runs in a paper's style (needs matplotlib, the extra "plots")."""
    from pytest_editpitfalls.reports.plots.of_runs import not_drawn, write_plots

    opened = open_runs(runs, store, suite or ())
    for path in write_plots(opened, out, file_format, only or ()):
        typer.echo(f"wrote {path}")
    if (words := not_drawn(opened)) is not None:
        typer.echo(f"not drawn: {words}")


def table(
    runs: RunArguments,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX (booktabs).")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to a file instead.")] = None,
    store: StoreOption = DEFAULT_STORE,
    suite: SuiteOption = None,
) -> None:
    """Print the tables of runs, one for each topic; in LaTeX with all runs in one, the best of each model bold."""
    if latex and out is None:
        out = STANDARD_OUTPUT
    if out is not None:
        check_writable(out, where="--out")
        refuse_shared([("--out", out)], [("RUN", Path(run)) for run in runs])
    opened = open_runs(runs, store, suite or ())
    if out is None:
        show(_tables(opened, Console().width, ascii_only=is_ascii(encoding())))
    elif latex:
        from pytest_editpitfalls.reports.latex import latex_tables

        write_text(latex_tables(opened), out, where="--out")
    else:
        lines = drawn(_tables(opened, _FILE_WIDTH), width=_FILE_WIDTH, force_terminal=False, color_system=None)
        write_text("\n".join(lines) + "\n", out, where="--out")
    _say_written([] if out is None else [out])


def _tables(runs: Sequence[NamedRun], width: int, *, ascii_only: bool = False) -> Iterator[RenderableType]:
    for run in runs:
        if len(runs) > 1:
            yield Text(run.name, "bold")
        view = RunView(run.results)
        yield from _nothing(view)
        yield from tables(view, width=width, ascii_only=ascii_only)
        yield from _properties(view)


def _nothing(view: RunView) -> Iterator[RenderableType]:
    if view.nothing:
        yield Text(view.nothing, "yellow")


def _properties(view: RunView) -> Iterator[RenderableType]:
    yield from (Text(each.line) for each in view.properties)


def export(
    run: RunArgument,
    released: Annotated[Path, typer.Option(metavar="DIR", help="Write the files of the released benchmark below DIR.")],
    editor: Annotated[
        list[str] | None, typer.Option(metavar="EDITOR", help="These editors alone; may be repeated.")
    ] = None,
    only_suite: Annotated[
        list[str] | None,
        typer.Option("--only-suite", metavar="SUITE", help="These suites alone; may be repeated."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    suite: SuiteOption = None,
) -> None:
    """Write a run in the layout that the released benchmark's own summary script reads."""
    from pytest_editpitfalls.reports.released_layout import export_released

    results = open_run(run, store, suite or ()).results
    exported = export_released(_part(results, editor, only_suite), released)
    for path in exported.files:
        typer.echo(f"wrote {path}")
    for reason, number in exported.left_out.items():
        typer.echo(f"{number} case(s) left out of {reason}")
    for remark in dict.fromkeys(exported.remarks):
        typer.echo(remark)


def _say_written(paths: Iterable[Path]) -> None:
    """Name the files that were written, unless standard output holds one of the documents."""
    written = list(paths)
    if not any(map(is_standard_output, written)):
        for path in written:
            typer.echo(f"wrote {path}")


def _part(results: RunResults, editors: list[str] | None, suites: list[str] | None) -> RunResults:
    for option, asked, known in (
        ("--editor", editors, {case.editor for case in results.cases}),
        ("--only-suite", suites, {case.suite for case in results.cases}),
    ):
        for name in asked or ():
            if name not in known:
                fix = f"it has: {', '.join(sorted(known)) or 'no cases'}"
                raise UsageError(f"the run has no '{name}'", where=option, fix=fix)
    cases = [
        case
        for case in results.cases
        if (not editors or case.editor in editors) and (not suites or case.suite in suites)
    ]
    return results.model_copy(update={"cases": cases})
