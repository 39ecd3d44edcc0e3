"""Where a run writes: what cannot be written, and two things in one place, are found before the work begins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_editpitfalls.comparison.baseline import check_place
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.outputs import check_writable, refuse_shared
from pytest_editpitfalls.reports.formats import FORMATS

from .session import PitfallsSession

STORE = "--pitfalls-store"


def check_places(config: pytest.Config, session: PitfallsSession) -> None:
    """Look at every place that the run will write to; nothing is left behind.

    Raises:
        UsageError: a report or a baseline cannot be written there, two of them are one file, one would be written over
            a file that the run reads, or the store's path can be no directory.
    """
    run, baseline = session.run, session.baseline
    reports = [(each.option, run.report_paths[each.name]) for each in FORMATS if each.name in run.report_paths]
    for where, path in reports:
        check_writable(path, where=where)
    for path, where in baseline.places.items():
        check_place(path, where=where)
    _check_store(run.store_path)
    outputs = [*reports, *((where, path) for path, where in baseline.places.items()), (STORE, run.store_path)]
    if junit := config.getoption("xmlpath", None):
        outputs.append(("--junitxml", config.invocation_params.dir / Path(junit).expanduser()))
    refuse_shared(outputs, _inputs(config, session))


def _inputs(config: pytest.Config, session: PitfallsSession) -> list[tuple[str, Path]]:
    """Return the files that the run reads, and what names each."""
    run, here = session.run, config.invocation_params.dir
    own = None if run.edits is None else run.edits.path
    inputs = [("--pitfalls-suite", suite.source) for suite in session.selection.suites if suite.source != own]
    if run.edits is not None:
        inputs.append(("--pitfalls-edits", run.edits.path))
        inputs += [("--pitfalls-facts", path) for path in run.edits.facts]
        inputs += [("--pitfalls-relations", path) for path in (run.edits.relations,) if path is not None]
        inputs += [("--pitfalls-rules", path) for path in (run.edits.rules,) if path is not None]
    inputs += [("--pitfalls-model", here / model) for model in run.models]
    if run.config_path is not None:
        inputs.append(("--pitfalls-config", run.config_path))
    if config.inipath is not None:
        inputs.append(("pytest's configuration", config.inipath))
    if run.baseline is not None and not run.update_baseline:
        inputs.append(("--pitfalls-baseline", session.baseline.path))
    return inputs


def _check_store(path: Path) -> None:
    """Raise `UsageError` where no store can be; one that cannot be written is read, and the summary says so."""
    try:
        is_there = os.path.isdir(path) or not os.stat(path)
    except (FileNotFoundError, PermissionError):
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"'{path}' can be no directory: {reason}", where=STORE, fix="name another one") from None
    if not is_there:
        raise UsageError(f"'{path}' is not a directory", where=STORE, fix="name a directory; it is made if need be")
