"""Which editors of a run get the values of a hyper-parameter file that others publish."""

from __future__ import annotations

from dataclasses import replace

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.options.editor_labels import editor_name


def with_released(run: RunConfig) -> tuple[RunConfig, list[str]]:
    """The run with the file's values as tables of its editors, and what there is to say about it.

    Raises:
        UsageError: the file is for none of the editors, or has nothing for one of them.
    """
    if run.released is None:
        return run, []
    if run.is_audit:
        return run, [f"nothing is edited in an audit: {run.released.path.name} is not used"]
    ours = {name for name in EDITORS if EDITORS.is_ours(name)}
    tables, notes = {}, []
    for name in run.released.editor((editor_name(label) for label in run.editors), ours):
        tables[name], note = run.released.table(name, EDITORS.get(name).hyperparameter_class())
        notes.append(note)
    return replace(run, config_tables=tables), notes
