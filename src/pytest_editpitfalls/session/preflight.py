"""What is checked before anything is loaded, computed or written."""

from __future__ import annotations

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.models import DTYPES, no_tf32, resolve
from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.options.editor_labels import check_label, check_settings
from pytest_editpitfalls.reports.formats import FORMATS
from pytest_editpitfalls.results.writer import check_writable


def check_names(run: RunConfig) -> None:
    """Raise `UsageError` for an unknown editor, model or dtype; imports no torch."""
    known = list(EDITORS)
    for editor in run.editors:
        check_label(editor, known, where="--pitfalls-editor")
    for source, names in (("--pitfalls-set", run.overrides), (str(run.config_path), run.config_tables)):
        for editor in names:
            check_settings(editor, known, where=source)
    if run.dtype is not None and run.dtype not in DTYPES:
        raise UsageError(f"unknown dtype '{run.dtype}'", where="--pitfalls-dtype", fix=did_you_mean(run.dtype, DTYPES))
    if run.dtype == "tf32" and run.device == "cpu":
        raise no_tf32(run.device)
    for model in run.models:
        resolve(model)


def check_paths(run: RunConfig) -> None:
    """Raise `UsageError` for a report that cannot be written."""
    for report in FORMATS:
        if (path := run.report_paths.get(report.name)) is not None:
            check_writable(path, where=report.option)
    if run.save is not None and run.save == run.baseline and not run.update_baseline:
        raise UsageError(
            "the baseline would be written over",
            where="--pitfalls-save",
            fix="say so with --pitfalls-update-baseline, or give another name",
        )
