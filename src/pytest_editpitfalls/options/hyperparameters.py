"""Hyper-parameters as the user gives them: ``--pitfalls-set`` and the TOML file. Light: loaded with pytest itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_editpitfalls.errors import UsageError


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


def read_config_file(path: Path, source: str = "--pitfalls-config") -> dict[str, dict[str, Any]]:
    """Read the TOML file that ``source`` (an option or ini key) names: one table of hyper-parameters per editor."""
    from pytest_editpitfalls.files import read_toml

    if not path.exists():
        raise UsageError("no such file", where=str(path), fix=f"check the path of {source}")
    tables, _ = read_toml(path)
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(
                f"'{name}' stands outside of any table",
                where=str(path),
                fix=f"put it under the editor that it is for: [rome] and then {name} = ...",
            )
    return tables
