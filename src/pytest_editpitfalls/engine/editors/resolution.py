"""Hyper-parameters from preset, configuration file and command line, checked. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pytest_editpitfalls.engine.editors.presets import preset_for
from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters
from pytest_editpitfalls.engine.hyperparameters.released import is_released
from pytest_editpitfalls.engine.hyperparameters.toml import toml_value
from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.validation import in_words

K = TypeVar("K", bound=Hyperparameters)


_TYPED = re.compile(r"--pitfalls-set [^\s.]+\.")

_SOME_DEPTH = 32
"""Stands for the depth of a model that nobody has looked at yet."""


@dataclass
class _Merged:
    """Values by key, and where each came from; ``given``: those of the user."""

    start: Mapping[str, Any]
    values: dict[str, Any]
    given: dict[str, Any]
    where: dict[str, str]


def resolve_hyperparameters(
    editor: str,
    kind: type[K],
    model_name: str,
    n_layers: int,
    config_table: Mapping[str, Any] | None = None,
    overrides: Mapping[str, str] | None = None,
    *,
    config_path: Path | None = None,
) -> K:
    """Merge preset (or ``kind.scaled``), configuration table and command line, the later winning, and check.

    Args:
        model_name: short name, id or path of the model, for the preset.
        config_table: the editor's table of the configuration file.
        overrides: ``--pitfalls-set`` values as typed, by key.
        config_path: the configuration file; relative paths in its table start at its directory.

    Raises:
        UsageError: an unknown key, a missing or a bad value; says which option or table it came from.
    """
    merged = _merged(editor, kind, model_name, n_layers, config_table, overrides, config_path)
    try:
        checked = kind.model_validate(merged.values, context={"n_layers": n_layers})
    except ValidationError as error:
        raise _usage_error(error.errors(include_url=False)[0], editor, kind, merged) from None
    named = [key for key in kind.at_most_one if getattr(checked, key) is not None]
    if len(named) > 1:
        raise UsageError(
            f"{' and '.join(named)} are both given",
            where=" and ".join(merged.where.get(key, key) for key in named),
            fix="name one of them",
        )
    return checked


def check_given(
    editor: str,
    kind: type[Hyperparameters],
    model_name: str,
    config_table: Mapping[str, Any] | None = None,
    overrides: Mapping[str, str] | None = None,
    *,
    config_path: Path | None = None,
) -> None:
    """Check what the user gives by itself, before a model is there; arguments as of `resolve_hyperparameters`.

    Raises:
        UsageError: an unknown key, or a value that is wrong whatever the model's depth is.
    """
    if not (config_table or overrides):
        return
    merged = _merged(editor, kind, model_name, _SOME_DEPTH, config_table, overrides, config_path)
    try:
        kind.model_validate(merged.values)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            if found["loc"] and found["loc"][0] in merged.given:
                raise _usage_error(found, editor, kind, merged) from None


@contextmanager
def as_option(option: str) -> Iterator[None]:
    """What is said of ``--pitfalls-set EDITOR.KEY`` is said of the option by which a command takes these values."""
    try:
        yield
    except UsageError as error:
        where, fix = (_TYPED.sub(f"{option} ", text or "") or None for text in (error.where, error.fix))
        raise UsageError(error.what, where=where, fix=fix) from None


def _merged(
    editor: str,
    kind: type[Hyperparameters],
    model_name: str,
    n_layers: int,
    config_table: Mapping[str, Any] | None,
    overrides: Mapping[str, str] | None,
    config_path: Path | None,
) -> _Merged:
    start = preset_for(editor, model_name, n_layers) or kind.scaled(n_layers)
    values = dict(start)
    where = dict.fromkeys(values, f"preset '{values.get('source', '')}'")
    given: dict[str, Any] = {}
    place = "" if config_path and is_released(config_path) else f"[{editor}] "
    for key, value in (config_table or {}).items():
        is_path = key in kind.path_fields or (key in kind.structured and isinstance(value, str))
        given[key] = _from(config_path.parent, value) if config_path and is_path else value
        where[key] = f"{config_path or 'configuration'} {place}{key}"
    for key, text in (overrides or {}).items():
        given[key] = text if key in kind.path_fields else toml_value(text)
        where[key] = f"--pitfalls-set {editor}.{key}"
    implied = {key: value for key, value in kind.implied_by(given).items() if key not in given}
    where |= dict.fromkeys(implied, f"what the values given to '{editor}' imply")
    return _Merged(start, values | implied | given, given, where)


def _from(directory: Path, value: Any) -> Any:
    return directory / value if isinstance(value, str) else value


def _usage_error(first: Any, editor: str, kind: type[Hyperparameters], merged: _Merged) -> UsageError:
    """One of pydantic's findings in our words."""
    key = str(first["loc"][0]) if first["loc"] else ""
    place = merged.where.get(key, f"hyper-parameters of '{editor}'")
    if first["type"] == "extra_forbidden":
        names = [name for name in kind.model_fields if name != "source"]
        return UsageError(f"unknown hyper-parameter '{key}'", where=place, fix=did_you_mean(key, names))
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return UsageError(f"'{key}' is needed", where=place, fix=f"--pitfalls-set {editor}.{key}=VALUE")
    message = in_words(first)
    shown = merged.values.get(key, kind.model_fields[key].default if key in kind.model_fields else None)
    example = f"without it, {key} would be {merged.start[key]!r}; " if key in merged.start else ""
    return UsageError(
        f"bad value {shown!r}: {message}" if key else message,
        where=place,
        fix=f"{example}docs/hyperparameters.md lists the hyper-parameters and their values",
    )
