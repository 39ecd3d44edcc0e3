"""``editpitfalls suites fetch``: bring published suites into the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from pytest_editpitfalls.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from pytest_editpitfalls.suites.fetched import RemoteFile, Source

ADDRESS_VARIABLE = "EDITPITFALLS_SUITES_URL"
"""Environment variable in place of ``--from``."""


def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="pitfalls, counterfact.")],
    address: Annotated[
        str | None,
        typer.Option("--from", metavar="URL", envvar=ADDRESS_VARIABLE, help="A mirror, in place of the public home."),
    ] = None,
) -> None:
    """Bring published suites into the cache; their SHA-256 is pinned. Then --pitfalls-suite takes their names."""
    from pytest_editpitfalls.suites.fetched import SOURCES
    from pytest_editpitfalls.suites.fetching import fetch as bring

    sources = []
    for name in names:
        if name not in SOURCES:
            raise UsageError(f"'{name}' cannot be fetched", where="NAME", fix=did_you_mean(name, SOURCES))
        sources.append(SOURCES[name])
    for source in dict.fromkeys(sources):
        with _Bar(source) as bar:
            brought, count = bring(source, address, bar.tell)
        there = "" if brought == count else f", {count - brought} of them there already"
        typer.echo(f"{source.name}: {source.what}, licence {source.license}; {count} file(s){there}")
        typer.echo(f"  in {source.directory}")
        typer.echo(f"  for instance: pytest --editor=rome --pitfalls-suite={_example(source)}")


class _Bar(Progress):
    """How far the files of a source are, on a terminal."""

    def __init__(self, source: Source) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        super().__init__(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self.add_task(source.name, total=sum(file.size for file in source.files))
        self._done: dict[str, int] = {}

    def tell(self, file: RemoteFile, size: int) -> None:
        """Show that so many bytes of a file are there."""
        self._done[file.path] = size
        self.update(self._task, completed=sum(self._done.values()))


def _example(source: Source) -> str:
    return next((f"{source.name}/{file.suite}" for file in source.files if file.suite), source.name)
