"""Pydantic's findings as one clear message: what is wrong, in which field, and what to write instead."""

from __future__ import annotations

import dataclasses
import reprlib
import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from pytest_editpitfalls.errors import RowError, UsageError, did_you_mean

UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""What pydantic calls a field that a model, and one that a dataclass, does not have."""

_SHOWN = 60
_ABRIDGED = reprlib.Repr()
_ABRIDGED.maxstring = _ABRIDGED.maxother = _SHOWN


def usage_error(error: ValidationError, where: str, model: type[BaseModel] | None, *, skip: int = 0) -> UsageError:
    """Turn the most telling finding of ``error`` into a `UsageError`.

    Args:
        error: what pydantic raised.
        where: file (and line or row) that was validated.
        model: the model that was validated, for the names that a misspelt field may have meant.
        skip: how many leading parts of the finding's location ``where`` names already.
    """
    found = error.errors(include_url=False)
    # A misspelt field is reported twice, as missing and as unknown; the latter shows the word to correct.
    first = next((finding for finding in found if finding["type"] in UNKNOWN), found[0])
    location = first["loc"][skip:]
    name = str(location[-1]) if location else ""
    kind = first["type"]
    if kind == "value_error" and isinstance(cause := first["ctx"]["error"], RowError):
        return UsageError(cause.what, where=_place(where, (*location, cause.field)), fix=cause.fix)
    if kind == "json_invalid":
        return UsageError(f"not valid JSON: {first['ctx']['error']}", where=where, fix="correct the JSON")
    if kind in UNKNOWN:
        known = sorted(_fields(model, location[:-1]))
        return UsageError(f"unknown field '{name}'", where=_place(where, location), fix=did_you_mean(name, known))
    if kind == "missing":
        if isinstance(location[-1], int):
            what = f"item {location[-1] + 1} of '{location[-2] if len(location) > 1 else 'the list'}' is missing"
            return UsageError(what, where=_place(where, location), fix="add it")
        return UsageError(f"'{name}' is missing", where=_place(where, location), fix="add it")
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    shown = _ABRIDGED.repr(first["input"])
    if len(shown) > _SHOWN:
        shown = shown[: _SHOWN - 3] + "..."
    return UsageError(f"{message} (found {shown})", where=_place(where, location), fix="correct the value")


def _place(where: str, location: tuple[int | str, ...]) -> str:
    return f"{where}, field {'.'.join(str(part) for part in location)}" if location else where


def _fields(model: type[BaseModel] | None, location: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the model that stands at ``location`` inside ``model``."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            arguments = typing.get_args(current)
            current = arguments[min(part, len(arguments) - 1)] if arguments else None
            if current is Ellipsis:
                current = arguments[0]
        elif part in (fields := _annotations(current)):
            current = fields[part]
        elif typing.get_origin(current) is dict:
            current = typing.get_args(current)[1]
        if typing.get_origin(current) in (typing.Union, types.UnionType):
            current = next(argument for argument in typing.get_args(current) if argument is not type(None))
    return list(_annotations(current))


def _annotations(model: Any) -> dict[str, Any]:
    """Return field -> type of a model or dataclass; nothing for anything else."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        return {name: field.annotation for name, field in model.model_fields.items()}
    return {field.name: field.type for field in dataclasses.fields(model)} if dataclasses.is_dataclass(model) else {}
