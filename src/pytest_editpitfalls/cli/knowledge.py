"""What commands that need facts have in common: the options that name them, and reading them with a bar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pytest_editpitfalls.escaping import visible

from .progress import ReadingProgress

if TYPE_CHECKING:
    from pytest_editpitfalls.knowledge import Knowledge

FactsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--facts",
        metavar="FILE",
        help="Table of facts, N-Triples or Wikidata dump; may be repeated. Default: the facts that ship.",
    ),
]
RelationsOption = Annotated[
    Path | None, typer.Option("--relations", metavar="FILE", help="relations.toml. Default: the one that ships.")
]
RulesOption = Annotated[
    Path | None, typer.Option("--rules", metavar="FILE", help="rules.toml. Default: the one that ships.")
]
OverridesOption = Annotated[
    Path | None,
    typer.Option("--overrides", metavar="FILE", help="Corrections of facts. Default: overrides.csv beside a table."),
]
LanguageOption = Annotated[
    str, typer.Option("--language", metavar="CODE", help="Language of the labels that are read from a dump.")
]


def read_knowledge(
    facts: Sequence[Path] | None,
    relations: Path | None,
    rules: Path | None,
    overrides: Path | None = None,
    language: str = "en",
) -> Knowledge:
    """Read facts, relations and rules; on standard error: how far it is, and then what was left out of facts given.

    Raises:
        UsageError: as `load_knowledge`.
    """
    from pytest_editpitfalls.knowledge import load_knowledge

    console = Console(stderr=True)
    with ReadingProgress(console) as progress:
        knowledge = load_knowledge(facts or (), relations, rules, progress, overrides, language=language)
    for line in knowledge.report.lines() if facts else ():
        console.print(visible(line), markup=False, highlight=False, soft_wrap=True)
    return knowledge
