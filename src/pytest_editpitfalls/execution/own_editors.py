"""Editors that a run brings with it: those of the hook, and those named as ``package.module:attribute``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.options.editor_labels import editor_name

if TYPE_CHECKING:
    import pytest

    from pytest_editpitfalls.options.config import RunConfig


def register(config: pytest.Config, run: RunConfig) -> None:
    """Make the editors of the hook and of the command line known, and import those that were asked for.

    Raises:
        UsageError: an editor cannot be imported, is none, or its name is taken.
    """
    from pytest_editpitfalls.engine.editors.editor_registry import EDITORS, imported

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


@dataclass(frozen=True)
class OwnEditor:
    """An editor that did not ship, for another process to `take_over`.

    Attributes:
        name: what the run calls it.
        value: the function, class or declaration.
        origin: where it is from.
    """

    name: str
    value: Any
    origin: str


def brought(run: RunConfig) -> list[OwnEditor]:
    """The editors of the run that did not ship."""
    from pytest_editpitfalls.engine.editors.editor_registry import EDITORS

    names = dict.fromkeys(editor_name(label) for label in run.editors)
    values = {name: EDITORS.own_object(name) for name in names}
    return [
        OwnEditor(name, value, EDITORS.origin(name)) for name, value in values.items() if value is not None
    ]


def conftests() -> dict[str, str]:
    """Module name and file of every conftest that brings editors: another process cannot import it by name."""
    files = {
        name: getattr(module, "__file__", None)
        for name, module in [*sys.modules.items()]
        if hasattr(module, "pytest_pitfalls_editors")
    }
    return {name: file for name, file in files.items() if file and Path(file).name == "conftest.py"}


def load_module(name: str, file: str) -> None:
    """Load a module from its file, under its name; raises whatever it raises."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError("it cannot be loaded", where=file)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def take_over(editors: Iterable[OwnEditor]) -> None:
    """Make the editors of another process known in this one."""
    from pytest_editpitfalls.engine.editors.editor_registry import EDITORS

    EDITORS.forget_added()
    for editor in editors:
        EDITORS.add(editor.name, editor.value, origin=editor.origin)


def _plugin_name(implementation: object) -> str:
    plugin = getattr(implementation, "plugin", None)
    file = getattr(plugin, "__file__", None)
    return str(file or getattr(implementation, "plugin_name", "a plugin"))
