"""The editors that a run brings with it, carried into Ray's actors."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.options.editor_labels import editor_name


@dataclass(frozen=True)
class CarriedEditor:
    """An editor that does not come with this package.

    Attributes:
        name: what the run calls it.
        value: the function, class or declaration.
        origin: where it is from.
    """

    name: str
    value: Any
    origin: str


def editors_of(run: RunConfig) -> list[CarriedEditor]:
    """Return the editors of the run that do not come with this package."""
    names = dict.fromkeys(editor_name(label) for label in run.editors)
    values = {name: EDITORS.own_object(name) for name in names}
    return [CarriedEditor(name, value, EDITORS.origin(name)) for name, value in values.items() if value is not None]


def conftests_with_editors() -> dict[str, str]:
    """Return module name and file of every conftest that brings editors: no other process can import it by name."""
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


def register_editors(editors: Iterable[CarriedEditor]) -> None:
    """Make the editors of another process known in this one."""
    EDITORS.forget_added()
    for editor in editors:
        EDITORS.add(editor.name, editor.value, origin=editor.origin)
