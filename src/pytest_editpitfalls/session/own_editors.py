"""Editors that a run brings with it: those of the hook, and those named as ``package.module:attribute``."""

from __future__ import annotations

import sys

import pytest

from pytest_editpitfalls.engine.editors.registry import EDITORS, imported
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.options.editor_labels import editor_name


def register_own_editors(config: pytest.Config, run: RunConfig) -> None:
    """Make the editors of the hook and of the command line known, and import those that were asked for.

    Raises:
        UsageError: an editor cannot be imported, is no editor, or its name is taken.
    """
    EDITORS.forget_added()
    for implementation in config.hook.pytest_pitfalls_editors.get_hookimpls():
        if implementation.hookwrapper or implementation.wrapper:
            continue
        origin = f"pytest_pitfalls_editors of {_plugin_name(implementation)}"
        found = implementation.function(**dict.fromkeys(implementation.argnames, config))
        if found is not None and not isinstance(found, dict):
            raise UsageError(
                f"the hook gave a {type(found).__name__}, not a dictionary",
                where=origin,
                fix="return {name: editor}",
            )
        for name, value in (found or {}).items():
            EDITORS.add(name, value, origin=origin)
    for name, path in run.editor_paths.items():
        for folder in dict.fromkeys([str(config.invocation_params.dir), str(config.rootpath)]):
            if folder not in sys.path:
                sys.path.append(folder)  # behind everything: an installed package is found first
        EDITORS.add(name, imported(path, where=f"--editor={path}"), origin=f"--editor={path}")
    for label in run.editors:
        if (name := editor_name(label)) in EDITORS:
            EDITORS.get(name)


def _plugin_name(implementation: object) -> str:
    plugin = getattr(implementation, "plugin", None)
    file = getattr(plugin, "__file__", None)
    return str(file or getattr(implementation, "plugin_name", "a plugin"))
