"""What a run brings with it: editors and kinds of pitfall, from hooks and named as ``package.module:attribute``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, TypeVar

import pytest

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.outside.bridge import OPTION, bridged_collection_editor, bridged_editor
from pytest_editpitfalls.engine.outside.collection import collection_of, outside_editor
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.options.editor_labels import editor_name
from pytest_editpitfalls.pitfalls import PITFALLS
from pytest_editpitfalls.registry import imported

Found = TypeVar("Found", dict[str, Any], list[Any])


def register_extensions(config: pytest.Config, run: RunConfig) -> None:
    """Make the editors and kinds of pitfall of hooks and of the command line known, and import what was asked for.

    A suite may name a kind by its module: it is looked for in the working directory and the rootdir, too.

    Raises:
        UsageError: an editor or a kind cannot be imported, is none, or its name is taken.
    """
    folders = list(dict.fromkeys([str(config.invocation_params.dir), str(config.rootpath)]))
    for folder in folders:
        if folder not in sys.path:
            sys.path.append(folder)  # behind everything: an installed package is found first
    EDITORS.forget_added()
    for origin, editors in _given(config, "pytest_pitfalls_editors", dict, "return {name: editor}"):
        for name, value in editors.items():
            EDITORS.add(name, value, origin=origin)
    PITFALLS.forget_added()
    for origin, kinds in _given(config, "pytest_pitfalls_kinds", list, "return [MyPitfall]"):
        for kind in kinds:
            PITFALLS.add(kind, origin=origin)
    for label, checkpoint in run.checkpoints.items():
        EDITORS.add_checkpoint(label, checkpoint)
    # a worker gets what has been checked, and what edits nothing starts no process
    checked = not (hasattr(config, "workerinput") or config.option.collectonly or run.replay)
    for name, path in run.editor_paths.items():
        EDITORS.add(name, _editor_at(path, run, folders, checked=checked), origin=f"--editor={path}")
    for label in run.editors:
        if (name := editor_name(label)) in EDITORS:
            EDITORS.get(name)


def bridge_notice(run: RunConfig) -> str | None:
    """Return what there is to say of editors in another interpreter; None where there are none."""
    if run.editor_python is None:
        return None
    if not run.editor_paths:
        return f"no editor is given as module:attribute or by a collection: {OPTION} is not used"
    return (
        f"{', '.join(run.editor_paths)}: each edit starts {run.editor_python}, which loads the model: this is slow; "
        "only weights come back, and results are not used again by another run"
    )


def _editor_at(path: str, run: RunConfig, folders: list[str], *, checked: bool) -> Any:
    where, is_collection = f"--editor={path}", collection_of(path) is not None
    if (python := run.editor_python) is not None:
        if is_collection:
            return bridged_collection_editor(path, python, run.checkouts, where=where, checked=checked)
        return bridged_editor(path, python, folders, where=where, checked=checked)
    return outside_editor(path, run.checkouts, where=where) if is_collection else imported(path, where=where)


def _given(config: pytest.Config, hook: str, form: type[Found], fix: str) -> Iterator[tuple[str, Found]]:
    """Yield what each implementation of a hook returns, and where it is from; raises `UsageError` for another form."""
    for implementation in getattr(config.hook, hook).get_hookimpls():
        if implementation.hookwrapper or implementation.wrapper:
            continue
        origin = f"{hook} of {_plugin_name(implementation)}"
        found = implementation.function(**dict.fromkeys(implementation.argnames, config))
        if found is not None and not isinstance(found, form):
            words = {dict: "dictionary", list: "list"}[form]
            raise UsageError(f"the hook gave a {type(found).__name__}, not a {words}", where=origin, fix=fix)
        if found:
            yield origin, found


def _plugin_name(implementation: object) -> str:
    plugin = getattr(implementation, "plugin", None)
    file = getattr(plugin, "__file__", None)
    return str(file or getattr(implementation, "plugin_name", "a plugin"))
