"""``editpitfalls store``: look after the directory in which runs keep their results."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.reports.grids import indented
from pytest_editpitfalls.reports.view.words import count
from pytest_editpitfalls.store.directory import Store
from pytest_editpitfalls.store.maintenance import HeaderRow, Pruned, check, listing, merge, prune
from pytest_editpitfalls.store.replay import SHORT

from .examples import command, examples
from .runs import DEFAULT_STORE
from .show import box_for_output, fits, print_json, show

BROKEN = 1
"""Exit status of `check` where a file is broken."""

store_app = typer.Typer(
    help="Look after the store: what runs have computed.",
    epilog=examples("editpitfalls store list"),
    no_args_is_help=True,
    add_completion=False,
)

StorePath = Annotated[Path, typer.Option("--store", metavar="PATH", help="Directory of the store.")]


@command(store_app, "editpitfalls store list", "editpitfalls store list --store results/.pitfalls --json", name="list")
def list_runs(
    store: StorePath = DEFAULT_STORE, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the stored runs, the newest first: editor, model, what differs, cases, errors, size."""
    opened = Store.open(store, create=False)
    rows = listing(opened)
    if as_json:
        print_json([row.as_json() for row in rows])
        return
    table = _table(rows)
    show([table] if fits(table, Console().width) else chain.from_iterable(map(_block, rows)))
    if opened.broken:
        typer.echo(f"{count(opened.broken, 'file')} cannot be read: editpitfalls store check", err=True)


@command(store_app, "editpitfalls store check", name="check")
def check_files(store: StorePath = DEFAULT_STORE) -> None:
    """Read and verify every file; exit status 1 where one is broken."""
    report = check(Store.open(store, create=False))
    for path in report.broken:
        typer.echo(f"broken: {visible(path)}")
    for path in report.without_header:
        typer.echo(f"its run header is missing, so that no replay finds it: {visible(path)}")
    for path in report.temporary:
        typer.echo(f"being written, or left by a killed run: {visible(path)}")
    broken = count(len(report.broken), "file")
    typer.echo(f"{report.headers} run(s) and {report.records} record(s) are sound, {broken} broken")
    if report.broken:
        typer.echo("broken files count as missing: run again to compute them, or editpitfalls store prune --broken")
        raise typer.Exit(BROKEN)


@command(
    store_app,
    "editpitfalls store prune --keep-newest --dry-run",
    "editpitfalls store prune --run 3f9a --older-than 30",
    name="prune",
)
def prune_runs(
    store: StorePath = DEFAULT_STORE,
    keep_newest: Annotated[
        bool, typer.Option("--keep-newest", help="Of each editor and model, keep the run written last alone.")
    ] = False,
    older_than: Annotated[
        float | None, typer.Option("--older-than", metavar="DAYS", help="Remove records that are older.")
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="KEY", help="Remove this run, by the first digits of its key; may be repeated."),
    ] = None,
    broken: Annotated[bool, typer.Option("--broken", help="Remove files that cannot be read.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
) -> None:
    """Remove stored results, and what killed runs have left."""
    opened = Store.open(store, create=False)
    if not (keep_newest or older_than is not None or run or broken):
        raise UsageError(
            "nothing says what to remove",
            where="editpitfalls store prune",
            fix="give --keep-newest, --older-than=DAYS, --run=KEY or --broken",
        )
    done = prune(
        opened, keep_newest=keep_newest, older_than_days=older_than, headers=run or (), broken=broken, dry_run=dry_run
    )
    typer.echo(_removed(done, "would be removed" if dry_run else "removed"))


@command(store_app, "editpitfalls store merge shard-1 shard-2 --store all", name="merge")
def merge_stores(
    others: Annotated[list[Path], typer.Argument(metavar="OTHER...", help="Stores to copy from.")],
    store: StorePath = DEFAULT_STORE,
) -> None:
    """Copy what other stores have more, for instance those of the shards of a run; every file is verified."""
    sources = [Store.open(other, create=False) for other in others]
    opened = Store.open(store)
    for source in sources:
        done = merge(opened, source)
        for path in done.broken:
            typer.echo(f"broken, left out: {visible(path)}")
        typer.echo(
            f"{visible(source.path)}: {done.headers} run(s) and {done.records} record(s) copied, "
            f"{done.present} there already, {count(len(done.broken), 'file')} broken"
        )


def _table(rows: list[HeaderRow]) -> Table:
    headings = ("run", "editor", "model", "seed", "dtype", "differs in", "cases", "size", "written")
    table = Table(*headings, show_lines=True, box=box_for_output())
    for row in rows:
        differs, cases = "\n".join(_differs(row)), "\n".join(_cases(row))
        cells = [row.key[:SHORT], *_facts(row), differs, cases, _size(row.bytes), _when(row.last_written)]
        table.add_row(*map(Text, cells))
    return table


def _block(row: HeaderRow) -> Iterator[RenderableType]:
    """What a line of the table says, in a few lines: for terminals in which its columns have no room."""
    editor, model, seed, dtype = (text.replace("\n", " ") for text in _facts(row))
    known = f"{editor} on {model}, seed {seed}, {dtype}" if row.header is not None else editor
    yield Text(f"{row.key[:SHORT]}  {known}")
    yield indented(f"{', '.join(_cases(row))}; {_size(row.bytes)}, written {_when(row.last_written)}", by=2)
    if row.differs:
        yield indented(f"differs in {', '.join(_differs(row))}", by=2)


def _differs(row: HeaderRow) -> list[str]:
    return [f"{visible(name)} {visible(value)}" for name, value in row.differs.items()]


def _facts(row: HeaderRow) -> list[str]:
    header = row.header
    if header is None:
        return ["header missing", "", "", ""]
    labels = ", ".join(dict.fromkeys(name.label for name in header.models))
    model = f"{visible(labels)}\n{visible(header.fingerprint[:SHORT])}"
    once = "\nreplay only" if header.once is not None else ""
    return [visible(header.editor) + once, model, str(header.seed), visible(header.dtype)]


def _cases(row: HeaderRow) -> list[str]:
    found = [f"{visible(suite)} {number}" for suite, number in sorted(row.cases.items())]
    found += [count(row.errors, "error")] if row.errors else []
    found += [f"{row.skipped} skipped"] if row.skipped else []
    return found or ["none"]


def _removed(done: Pruned, verb: str) -> str:
    kinds = {"run(s)": done.headers, "record(s)": done.records, "broken file(s)": done.broken}
    kinds["unfinished file(s)"] = done.temporary
    parts = [f"{number} {what}" for what, number in kinds.items() if number]
    return f"{', '.join(parts)} {verb}, {_size(done.bytes)}" if parts else f"nothing {verb}"


def _size(number: int) -> str:
    if number < 10_000:
        return f"{number} bytes"
    return f"{number / 1000:.0f} kB" if number < 10_000_000 else f"{number / 1_000_000:.0f} MB"


def _when(seconds: float) -> str:
    if not seconds:
        return "?"
    moment = datetime.datetime.fromtimestamp(seconds).astimezone()
    return moment.isoformat(sep=" ", timespec="minutes")[:16]
