"""``editpitfalls suites build``: suites from facts and rules, of facts that a model holds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pytest_editpitfalls.cli.knowledge import (
    FactsOption,
    LanguageOption,
    OverridesOption,
    RelationsOption,
    RulesOption,
    read_knowledge,
)
from pytest_editpitfalls.cli.placement import DeviceOption, DtypeOption, checked_model
from pytest_editpitfalls.cli.show import box_for_output, shared_out, show
from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.options.defaults import DEFAULT_GROUP
from pytest_editpitfalls.program import Score

EVERY = 30.0
"""Seconds between two lines of progress where there is no terminal."""

_RIVALS = "median of rivals"


def build(
    model: Annotated[
        str,
        typer.Option(
            help="Name, Hugging Face id, directory or GGUF file: its knowledge counts.", callback=checked_model
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory that the suites and the datasheet go to.")],
    facts: FactsOption = None,
    relations: RelationsOption = None,
    rules: RulesOption = None,
    overrides: OverridesOption = None,
    language: LanguageOption = "en",
    suites: Annotated[
        str,
        typer.Option(help="Which suites, separated by commas: names, groups (conflict, spread), or all."),
    ] = DEFAULT_GROUP,
    cases: Annotated[int, typer.Option(help="Cases in each suite.")] = 600,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    held_scores: Annotated[
        str, typer.Option(help="Scores by which the true object has to win: mean,sum or one of them.")
    ] = "mean,sum",
    held_paraphrases: Annotated[
        float, typer.Option(help="Share of the paraphrases on which it has to win, too: 0 to 1.")
    ] = 0.5,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
) -> None:
    """Build suites of facts that a model holds.

    Started again with the same --out, a build that was stopped goes on where it was.
    """
    from pytest_editpitfalls.building.build import Watch, check
    from pytest_editpitfalls.building.build import build as build_suites
    from pytest_editpitfalls.building.settings import BuildSettings

    settings = BuildSettings(
        suites=_suites(suites),
        cases=cases,
        seed=seed,
        scores=_scores(held_scores),
        paraphrases=held_paraphrases,
    )
    console = Console(stderr=True)
    _check_directory(out)
    knowledge = read_knowledge(facts, relations, rules, overrides, language)
    check(knowledge, settings, out)

    from pytest_editpitfalls.engine.session import EngineSession
    from pytest_editpitfalls.engine.settings import EngineSettings

    def announce(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    session = EngineSession.open(EngineSettings(model=model, device=device, dtype=dtype), announce)
    with _display(console) as (chosen, asked):
        sheet = build_suites(
            session, session.source.short_name, knowledge, settings, out, _peak_gb, Watch(chosen, asked)
        )
    columns = ("cases", "strict", "default", "rules", "relations", "subjects", _RIVALS)
    show(shared_out(columns, lambda names: _table(sheet, names)))
    for line in _shortfalls(sheet):
        typer.echo(line)
    typer.echo(f"Written to {out}: suites, relations.toml, objects.json, datasheet.md and datasheet.json.")


def _suites(text: str) -> tuple[str, ...]:
    """Return the suites that names and groups stand for, each once; a name of both is that of the suite."""
    from pytest_editpitfalls.building.settings import plan_groups, plans

    found: dict[str, None] = {}
    for name in _names(text):
        found.update(dict.fromkeys((name,) if name in plans() else plan_groups().get(name, (name,))))
    return tuple(found)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _scores(text: str) -> tuple[Score, ...]:
    from pytest_editpitfalls.building.settings import SCORES

    names = _names(text)
    for name in names:
        if name not in SCORES:
            raise UsageError(f"unknown score '{name}'", where="--held-scores", fix=did_you_mean(name, SCORES))
    return tuple(score for score in SCORES if score in names)


def _check_directory(out: Path) -> None:
    """Make the directory; raises `UsageError` before any work where it cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"cannot write there: {error.strerror or error}", where=f"--out={out}", fix="name a directory of yours"
        ) from None


@contextmanager
def _display(console: Console) -> Iterator[tuple[Any, Any]]:
    """A bar for each suite with the time left; lines where there is no terminal."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
            tasks: dict[str, Any] = {}

            def chosen(suite: str, cases: int, wanted: int) -> None:
                if suite not in tasks:
                    tasks[suite] = progress.add_task(suite, total=wanted)
                progress.update(tasks[suite], completed=cases)

            yield chosen, lambda asked, kept: None
        return
    started = told = time.monotonic()
    latest = ""

    def tell(asked: int, kept: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= EVERY:
            told = now
            before = f", {kept:,} answered before" if kept else ""
            console.print(f"{now - started:,.0f} s: {latest}{asked:,} questions asked{before}", highlight=False)

    def count(suite: str, cases: int, wanted: int) -> None:
        nonlocal latest
        latest = f"{suite}: {cases:,} of {wanted:,} cases; "

    yield count, tell


def _table(sheet: Mapping[str, Any], columns: Sequence[str]) -> Table:
    title = f"Suites built for {sheet['run']['model']}, {sheet['run']['seconds']:,.0f} s"
    table = Table(title=Text(visible(title), justify="left"), title_justify="left", box=box_for_output())
    table.add_column("suite", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    for name, suite in sheet["suites"].items():
        rivals = "" if suite["rivals"] is None else f"{suite['rivals']['median']:g}"
        cells = (rivals if column == _RIVALS else f"{suite[column]:,}" for column in columns)
        table.add_row(Text(visible(name)), *cells)
    return table


def _shortfalls(sheet: Mapping[str, Any]) -> Iterator[str]:
    """Which suites are smaller than was asked for, and what refused most of what else the facts allow."""
    wanted = sheet["settings"]["cases"]
    for name, suite in sheet["suites"].items():
        if suite["cases"] < wanted:
            reasons = [f"{count:,} times {reason}" for reason, count in suite["refused"].items() if count][:3]
            why = f"; refused: {', '.join(reasons)}" if reasons else ""
            yield f"{name} has {suite['cases']:,} of {wanted:,} cases: the facts allow {suite['candidates']:,}{why}"


def _peak_gb() -> float:
    """Gigabytes that the process took at most."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)
