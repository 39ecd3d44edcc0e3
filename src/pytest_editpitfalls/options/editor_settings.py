"""What is said of single editors: hyper-parameters on the command line and in files, directories of collections."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_editpitfalls.engine.hyperparameters.released import ReleasedFile, is_released, read_released
from pytest_editpitfalls.engine.outside.collection import collections_by_name
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import absolute, is_there, read_toml

from .paths import expanded


def read_checkouts(entries: Iterable[str], folder: Path, where: str) -> dict[str, Path]:
    """Directories of collections of editors, by the collection's name."""
    known = collections_by_name()
    found = {}
    for entry in entries:
        name, equals, path = (part.strip() for part in entry.partition("="))
        if not equals or not path or name not in known:
            raise UsageError(
                f"'{entry}' is not NAME=DIR",
                where=where,
                fix=f"NAME is one of {', '.join(known)}: easyedit=../EasyEdit",
            )
        found[name] = absolute(folder / expanded(path, where))
    return found


def parse_overrides(entries: Iterable[str]) -> dict[str, dict[str, str]]:
    """Parse ``editor.key=value`` entries, split at the last dot before the first ``=``; a later entry wins."""
    overrides: dict[str, dict[str, str]] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        editor, dot, key = name.strip().rpartition(".")
        if not (equals and dot and editor and key):
            raise UsageError(
                f"'{entry}' is not EDITOR.KEY=VALUE",
                where="--pitfalls-set",
                fix="write for instance --pitfalls-set rome.v_lr=0.1",
            )
        overrides.setdefault(editor, {})[key] = value.strip()
    return overrides


def released_file(path: Path | None, source: str) -> ReleasedFile | None:
    """The file of `read_config_file` where it is one that others publish (YAML, JSON); None for TOML."""
    if path is None or not is_released(path):
        return None
    _check_is_there(path, source)
    return read_released(path)


def read_config_file(path: Path, source: str = "--pitfalls-config") -> dict[str, dict[str, Any]]:
    """Read the TOML file that ``source`` (an option or ini key) names: one table of hyper-parameters per editor."""
    _check_is_there(path, source)
    tables, _ = read_toml(path)
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(
                f"'{name}' stands outside of any table",
                where=str(path),
                fix=f"put it under the editor that it is for: [rome] and then {name} = ...",
            )
    return tables


def _check_is_there(path: Path, source: str) -> None:
    if not is_there(path, source):
        raise UsageError("no such file", where=str(path), fix=f"check the path of {source}")
