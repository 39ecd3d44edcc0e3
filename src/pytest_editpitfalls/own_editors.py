"""Editors that a run brings with it: those of the hook, and those named as ``package.module:attribute``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .editor_labels import MULTI_LABEL, editor_name, is_multi_label
from .errors import UsageError

if TYPE_CHECKING:
    import pytest

    from .options import RunConfig

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_WHERE = "--pitfalls-editor"


def labels_of(typed: Iterable[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Labels of editors as typed: an editor given as ``package.module:attribute`` is called by its attribute.

    Returns:
        The labels, and the paths of those given by path: name -> ``package.module:attribute``.

    Raises:
        UsageError: a path that is none, or two of one attribute name.
    """
    labels: list[str] = []
    paths: dict[str, str] = {}
    for text in typed:
        path = editor_name(text)
        if ":" not in path:
            labels.append(text)
            continue
        if not _PATH.fullmatch(path):
            raise UsageError(
                f"'{path}' is not package.module:attribute",
                where=_WHERE,
                fix="for instance --editor=my_package.my_module:my_editor",
            )
        name = path.partition(":")[2].rpartition(".")[2]
        if paths.setdefault(name, path) != path:
            raise UsageError(
                f"{paths[name]} and {path} would both be called '{name}'",
                where=_WHERE,
                fix="give one of the attributes another name",
            )
        labels.append(name + (MULTI_LABEL if is_multi_label(text) else ""))
    return tuple(dict.fromkeys(labels)), paths


def as_typed(label: str, run: RunConfig) -> str:
    """What was typed for ``label``."""
    path = run.editor_paths.get(editor_name(label))
    return label if path is None else path + (MULTI_LABEL if is_multi_label(label) else "")


def register(config: pytest.Config, run: RunConfig) -> None:
    """Make the editors of the hook and of the command line known, and import those that were asked for.

    Raises:
        UsageError: an editor cannot be imported, is none, or its name is taken.
    """
    from .engine.editors.registry import EDITORS, imported

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
