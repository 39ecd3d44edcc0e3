"""What a command line calls a run: a result file, a baseline by file or name, or a run of a store."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.results.named import NamedRun, with_unique_names
from pytest_editpitfalls.results.records import CaseRecord, RunResults
from pytest_editpitfalls.results.run_records import ModelRecord, RunRecord, SuiteRecord
from pytest_editpitfalls.results.writer import read_results

if TYPE_CHECKING:
    from pytest_editpitfalls.comparison.baseline import Baseline

DEFAULT_STORE = Path(".pitfalls")

RUN_HELP = "A result file, a baseline (file or name), or the first digits of a stored run."

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP, show_default=False)]
RunArguments = Annotated[list[str], typer.Argument(metavar="RUN...", help=RUN_HELP, show_default=False)]
StoreOption = Annotated[Path, typer.Option("--store", metavar="PATH", help="Store that RUN may be in.")]
SuiteOption = Annotated[
    list[str] | None,
    typer.Option(
        "--suite",
        metavar="SUITE",
        help="Suite of a stored run's cases, where it is none of those that ship; may be repeated.",
    ),
]

_KEY = re.compile(r"[0-9a-f]{4,64}")
_HEAD = 4096


def open_runs(texts: Sequence[str], store: Path = DEFAULT_STORE, suites: Sequence[str] = ()) -> tuple[NamedRun, ...]:
    """Return the runs under names of their own; raises as `open_run`."""
    return with_unique_names(open_run(text, store, suites) for text in texts)


def open_run(text: str, store: Path = DEFAULT_STORE, suites: Sequence[str] = ()) -> NamedRun:
    """Return the run that ``text`` stands for.

    A file wins over a baseline of this name, and that over a key of the store. A baseline has cases with metrics
    and outcomes, and no probabilities. A stored run has what the store holds; what its cases say is looked up in the
    suites that ship and in ``suites``.

    Raises:
        UsageError: there is no such run, or its file is none of the forms.
    """
    path = Path(text)
    if _is_file(path):
        return NamedRun(path.stem, _read(path))
    if "/" in text or "\\" in text or path.suffix:
        raise UsageError(f"there is no file '{text}'", where="RUN", fix="name a file that --pitfalls-json has written")
    named = _baseline_path(text)
    if named is not None:
        return NamedRun(text, _read(named))
    if _KEY.fullmatch(text.lower()) and store.is_dir():
        return _stored(text, store, suites)
    raise UsageError(
        f"'{text}' is no result file, no baseline's name and no stored run",
        where="RUN",
        fix=f"name a file that --pitfalls-json has written, a baseline, or a run that 'editpitfalls store list "
        f"--store {store}' shows",
    )


def results_of_baseline(baseline: Baseline) -> RunResults:
    """Return a baseline as results: its cases with outcomes and metrics, and aggregates over them."""
    from pytest_editpitfalls.results.aggregates import aggregate, aggregate_seeds

    seeds = {(editor.name, editor.model): editor.seed for editor in baseline.editors}
    cases = [
        CaseRecord(
            **group.model_dump(include={"suite", "editor", "model"}),
            **case.model_dump(include={"id", "subject", "digest", "outcome", "metrics"}),
            source_index=place,
            seed=seeds.get((group.editor, group.model)),
        )
        for group in baseline.groups
        for place, case in enumerate(group.cases)
    ]
    suites = [
        SuiteRecord(
            **suite.model_dump(include={"name", "kind", "format", "digest", "total", "judge"}),
            source="",
            selected=len({case.id for case in cases if case.suite == suite.name}),
        )
        for suite in baseline.suites
    ]
    kinds = {suite.name: suite.kind for suite in suites}
    return RunResults(
        run=RunRecord(
            started=baseline.started,
            device=baseline.machine.get("device"),
            dtype=baseline.machine.get("dtype"),
            metric_definitions=baseline.metric_definitions,
            editors=list(baseline.editors),
            models=[ModelRecord(name=model.name, fingerprint=model.fingerprint) for model in baseline.models],
            suites=suites,
            versions=dict(baseline.versions),
        ),
        cases=cases,
        aggregates=aggregate(cases, kinds),
        by_seed=aggregate_seeds(cases, kinds),
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _baseline_path(text: str) -> Path | None:
    from pytest_editpitfalls.comparison.baseline import resolve

    try:
        path = resolve(text, Path.cwd(), where="RUN")
    except UsageError:
        return None
    return path if _is_file(path) else None


def _read(path: Path) -> RunResults:
    from pytest_editpitfalls.comparison.baseline import FORMAT, Baseline

    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), fix="check the path") from None
    if FORMAT.encode() in head:
        return results_of_baseline(Baseline.read(path))
    try:
        return read_results(path)
    except UsageError:
        if _is_foreign(path):
            raise UsageError(
                "this is neither a result file nor a baseline",
                where=str(path),
                fix="write one with --pitfalls-json or --pitfalls-save",
            ) from None
        raise


def _is_foreign(path: Path) -> bool:
    """Whether the file is JSON of something else."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return not isinstance(document, dict) or not {"run", "cases"} <= document.keys()


def _stored(text: str, path: Path, suites: Sequence[str]) -> NamedRun:
    from pytest_editpitfalls.store.directory import Store
    from pytest_editpitfalls.store.replay import SHORT, key_with_prefix
    from pytest_editpitfalls.store.results import stored_results
    from pytest_editpitfalls.suites.discovery import shipped_suites
    from pytest_editpitfalls.suites.suite import load_suites

    store = Store.open(path, create=False)
    key = key_with_prefix(store.header_keys(), text, where="RUN")
    header = store.header(key)
    if header is None:
        what = f"the header of the stored run {key[:SHORT]} cannot be read"
        raise UsageError(what, where=str(path), fix="editpitfalls store check")
    return NamedRun(key[:SHORT], stored_results(store, header, load_suites([*shipped_suites(), *suites])))
