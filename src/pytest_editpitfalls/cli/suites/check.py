"""``editpitfalls suites check``: what is wrong or odd with anybody's suites, before a model is edited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from pytest_editpitfalls.cli.placement import checked_model
from pytest_editpitfalls.cli.show import box_for_output, encoding, print_json, show
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.escaping import encodable, visible

if TYPE_CHECKING:
    from pytest_editpitfalls.suites.checking import Finding, Material
    from pytest_editpitfalls.suites.suite import Suite

FORMAT = 1
"""Of the JSON."""

SHOWN = 5
"""Findings of each check and level that are shown without ``--all``."""

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def check(
    suites: Annotated[list[str], typer.Argument(metavar="SUITE...", help="Names, groups or files of suites.")],
    model: Annotated[
        str | None,
        typer.Option(help="Check lengths and tokens under this model's tokenizer as well.", callback=checked_model),
    ] = None,
    prompts: Annotated[bool, typer.Option("--prompts", help="Show every prompt as it is asked.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Show every finding, not the first of each kind.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: every finding, and the prompts if asked.")
    ] = False,
) -> None:
    """Check suites: schema, contradictions, duplicates, leaks, lengths, tokens, wording, labels.

    Exit status 1 where something is an error. What others have published is reported and kept, and never an error.
    """
    from pytest_editpitfalls.suites.checking import prompts_of
    from pytest_editpitfalls.suites.checks import run_checks

    material = _material(suites, model)
    found = run_checks(material)
    if as_json:
        document: dict[str, Any] = _document(material, found, model)
        if prompts:
            document["prompts"] = list(prompts_of(material))
        print_json(document)
    else:
        if prompts:
            _print_prompts(prompts_of(material))
        show([_table(material, found), *_details(found, every)])
    if any(finding.level == "error" for each in found.values() for finding in each):
        raise typer.Exit(1)


def _material(specs: Sequence[str], model: str | None) -> Material:
    """Load every suite that can be loaded; a name that means nothing is a mistake on the command line."""
    from pytest_editpitfalls.suites.checking import Material
    from pytest_editpitfalls.suites.discovery import expand_suites
    from pytest_editpitfalls.suites.suite import load_suites

    expand_suites(specs)
    try:
        return Material(load_suites(specs), (), _tokens(model))
    except UsageError:
        pass
    suites: list[Suite] = []
    unread: list[Finding] = []
    for spec in specs:
        with _noted(unread, spec):
            suites += load_suites([spec])
    return Material(tuple(suites), tuple(unread), _tokens(model))


@contextmanager
def _noted(unread: list[Finding], spec: str) -> Iterator[None]:
    """What keeps a suite from being read is a finding; the others are checked all the same."""
    from pytest_editpitfalls.suites.checking import Finding

    try:
        yield
    except UsageError as error:
        unread.append(Finding("error", error.what, error.where or spec, fix=error.fix or ""))


def _tokens(model: str | None) -> Any:
    if model is None:
        return None
    from pytest_editpitfalls.engine.models.loading import load_tokenizer
    from pytest_editpitfalls.engine.models.source import resolve
    from pytest_editpitfalls.engine.tokens import Encoder

    return Encoder(load_tokenizer(resolve(model, option="--model")))


def _document(material: Material, found: dict[str, list[Finding]], model: str | None) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "model": model,
        "suites": [
            {
                "name": suite.name,
                "kind": suite.kind,
                "format": suite.format,
                "source": str(suite.source),
                "cases": len(suite.cases),
            }
            for suite in material.suites
        ],
        "counts": {name: Counter(finding.level for finding in each) for name, each in found.items()},
        "findings": [{"check": name, **finding.as_json()} for name, each in found.items() for finding in each],
    }


def _table(material: Material, found: dict[str, list[Finding]]) -> Table:
    from pytest_editpitfalls.suites.checking import LEVELS
    from pytest_editpitfalls.suites.checks import checks

    cases = sum(len(suite.cases) for suite in material.suites)
    table = Table(
        title=Text(f"{cases:,} cases of {len(material.suites)} suite(s)", "bold", justify="left"),
        title_justify="left",
        box=box_for_output(),
    )
    table.add_column("check", no_wrap=True)
    for level in LEVELS:
        table.add_column(f"{level}s", justify="right", no_wrap=True)
    table.add_column("cases", justify="right", no_wrap=True)
    table.add_column("looks for")
    for each in checks():
        counts = Counter(finding.level for finding in found[each.name])
        touched = len({(finding.suite, finding.case) for finding in found[each.name] if finding.case})
        cells = [Text(f"{counts[level]:,}", _COLOURS[level] if counts[level] else "") for level in LEVELS]
        table.add_row(each.name, *cells, f"{touched:,}", each.what)
    return table


def _details(found: dict[str, list[Finding]], every: bool) -> Iterable[Text]:
    from pytest_editpitfalls.suites.checking import LEVELS

    for name, findings in found.items():
        for level in LEVELS:
            these = [finding for finding in findings if finding.level == level]
            for finding in these if every else these[:SHOWN]:
                place = " ".join(filter(None, [finding.suite, finding.case]))
                text = Text()
                text.append(f"{level} ", _COLOURS[level])
                text.append(visible(f"({name}) {f'{place}: ' if place else ''}{finding.what}"))
                text.append(f"\n  {visible(finding.where)}")
                text.append(f"\n  fix: {visible(finding.fix)}" if finding.fix else "")
                yield text
            if (rest := len(these) - SHOWN) > 0 and not every:
                yield Text(f"  and {rest:,} more {level}{'s' if rest > 1 else ''} of {name}: --all shows them", "dim")


def _print_prompts(rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        typer.echo(encodable(visible(f"{row['suite']} {row['case']}, {row['fact']}:"), encoding()))
        for prompt in row["prompts"]:
            typer.echo(encodable(visible(f"  {prompt} ... {row['object']}"), encoding()))
