"""Pydantic's findings as one clear message: what is wrong, in which field, and what to write instead."""

from __future__ import annotations

import dataclasses
import re
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from pytest_editpitfalls.errors import RowError, UsageError, did_you_mean

UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""What pydantic calls a field that a model, and one that a dataclass, does not have."""

_HAS_TO_BE = "this has to be "

_TYPES = {
    "string": "a text",
    "string_unicode": "a text in UTF-8",
    "int": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float": "a number",
    "decimal": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "iterable": "a list",
    "dict": "an object with named fields",
    "mapping": "an object with named fields",
    "model": "an object with named fields",
    "model_attributes": "an object with named fields",
    "dataclass": "an object with named fields",
    "dataclass_exact": "an object with named fields",
    "none_required": "left out",
    "path": "a path",
    "bytes": "a text",
}
"""What pydantic calls a finding, without its ending -> what the value has to be."""

_LIMITS = {
    "greater_than": "this has to be above {gt}",
    "greater_than_equal": "this has to be at least {ge}",
    "less_than": "this has to be below {lt}",
    "less_than_equal": "this has to be at most {le}",
    "multiple_of": "this has to be a multiple of {multiple_of}",
    "string_too_short": "this has to be a text of at least {min_length} characters",
    "string_too_long": "this has to be a text of at most {max_length} characters",
    "too_short": "this has to have at least {min_length} items",
    "too_long": "this has to have at most {max_length} items",
    "literal_error": "this has to be {expected}",
    "enum": "this has to be {expected}",
    "union_tag_invalid": "this has to be {expected_tags}",
    "invalid_key": "the names of fields have to be texts",
}
"""What pydantic calls a finding -> the words, with what it says of the limit."""

_PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$": "a name of at most 64 letters, digits, '.', '_' and '-' "
    "that begins with a letter or a digit",
    "^[a-z]{2,3}(-[A-Za-z0-9]+)*$": "a language code, such as 'en' or 'pt-BR'",
    r"^[0-9a-f]{64}$": "64 hexadecimal digits",
}
"""What a regular expression of ours asks for."""

_FORM = re.compile(r"[a-z-]+\[.*\]")
_TYPE_NAME = re.compile(r"(constrained-)?(str|int|float|bool|none|list|dict|tuple|set|any|path|bytes)|[a-z-]+\[.*\]")
"""What pydantic calls a branch of a type in the place of a finding."""

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
    location = _without_forms(first["loc"])[skip:]
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
    location, message = _of_unions(first, found)
    location = location[skip:]
    shown = _ABRIDGED.repr(first["input"])
    if len(shown) > _SHOWN:
        shown = shown[: _SHOWN - 3] + "..."
    return UsageError(
        f"{message} (found {shown})", where=_place(where, location), fix=_choice(first) or "correct the value"
    )


def in_words(finding: Mapping[str, Any]) -> str:
    """Return what one of pydantic's findings says, in a user's words: "this has to be a whole number".

    Args:
        finding: one of `ValidationError.errors`.
    """
    kind, context = str(finding["type"]), finding.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        text = str(context.get("error", "")) or str(finding["msg"]).partition(", ")[2]
        return text if text[:2].isupper() else f"{text[:1].lower()}{text[1:]}"  # "FT has no constraint" stays
    if kind == "missing":
        return "an item is missing" if isinstance(finding["loc"][-1], int) else f"'{finding['loc'][-1]}' is missing"
    if kind == "string_pattern_mismatch":
        return f"this has to be {_PATTERNS.get(context['pattern'], 'written in another way')}"
    if (wanted := _TYPES.get(kind.removesuffix("_parsing").removesuffix("_type"))) is not None:
        return f"this has to be {wanted}"
    if kind in _LIMITS:
        limit = _LIMITS[kind].format(**context)
        return limit.replace("a text of at least 1 characters", "a text that is not empty").replace("1 items", "1 item")
    return "this is no value that is allowed here"


def _choice(finding: Mapping[str, Any]) -> str | None:
    """The ``fix`` for one of a few texts."""
    if finding["type"] not in ("literal_error", "enum") or not isinstance(finding["input"], str):
        return None
    known = re.findall(r"'([^']*)'", str(finding["ctx"]["expected"]))
    return did_you_mean(finding["input"], known) if known else None


def _of_unions(first: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> tuple[tuple[int | str, ...], str]:
    """The place and the words of a finding; where a field may be of several types, each has a finding of its own.

    Their places end with the names of the types, which mean nothing to a user.
    """
    place = first["loc"]
    same = [first]
    if place and isinstance(place[-1], str) and _TYPE_NAME.fullmatch(place[-1]):
        beside = [each for each in found if each["loc"][:-1] == place[:-1] and each["input"] is first["input"]]
        if len(beside) > 1:  # otherwise a field is called so
            place, same = place[:-1], beside
    words = list(dict.fromkeys(in_words(each) for each in same))
    wanted = [each.removeprefix(_HAS_TO_BE) for each in words if each.startswith(_HAS_TO_BE)]
    return _without_forms(place), f"{_HAS_TO_BE}{' or '.join(wanted)}" if wanted else words[0]


def _without_forms(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """A place without names of types in brackets ("function-after[...]")."""
    return tuple(part for part in location if isinstance(part, int) or not _FORM.fullmatch(part))


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
