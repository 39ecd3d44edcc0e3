"""Arguments of an in-place editor that are objects of its own: ``hparams``, made of a file or a table. Torch-free."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from pytest_editpitfalls.engine.hyperparameters.released import read_released
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.validation import in_words

_LOADERS = ("from_hparams", "from_json")


def is_structured(annotation: Any) -> bool:
    """Whether the value is an object that is made of a file or a table: a dataclass, or a class with a loader."""
    return isinstance(annotation, type) and (
        dataclasses.is_dataclass(annotation) or any(callable(getattr(annotation, name, None)) for name in _LOADERS)
    )


def found_file(value: str | Path, folder: Path | None) -> Path:
    """The file that a text names: from the working directory, or else from ``folder``. It need not be there."""
    path = Path(value)
    if folder is not None and not path.is_file():
        path = folder / path
    return path.absolute()


def structured_argument(
    kind: type[Any], value: Any, *, where: str, folder: Path | None = None
) -> tuple[Any, list[str]]:
    """The object that the function gets, and notes on what was not used.

    A path is given to the class's own ``from_hparams`` (or ``from_json``, for that suffix). Where it has none, or where
    that does not take what is in the file, a dataclass is filled field by field, and so it is from a table.

    Raises:
        UsageError: there is no such file, or a field is missing or has an impossible value; named.
    """
    if isinstance(value, Mapping):
        return _filled(kind, value, where)
    if not isinstance(value, str | Path):
        return value, []
    path = found_file(value, folder)
    if not path.is_file():
        raise UsageError(f"there is no file {value}", where=where, fix="check the path of the hyper-parameter file")
    loaders = [getattr(kind, name) for name in _LOADERS if callable(getattr(kind, name, None))]
    if loaders:
        loader = loaders[-1] if path.suffix.lower() == ".json" else loaders[0]
        try:
            return _loaded(loader(str(path))), []
        except (Exception, SystemExit) as error:
            if not (isinstance(error, TypeError) and dataclasses.is_dataclass(kind)):
                raise UsageError(
                    f"{kind.__name__}.{loader.__name__} does not take it: {type(error).__name__}: {error}",
                    where=f"{where} ({path})",
                    fix="name a file that was written for this editor",
                ) from error
    if not dataclasses.is_dataclass(kind):
        raise UsageError(f"{kind.__name__} reads no file of that kind", where=f"{where} ({path})", fix="name another")
    return _filled(kind, read_released(path).values, f"{where} ({path})")


def on_device(value: Any, device: str) -> Any:
    """The object with its ``device`` set to the model's, where it has one: a number where that is a number's place.

    Args:
        device: "cpu" or "cuda:N".
    """
    if not hasattr(value, "device"):
        return value
    kind, _, index = device.partition(":")
    wanted: Any = int(index or 0) if kind == "cuda" and not isinstance(value.device, str) else device
    try:
        value.device = wanted
    except dataclasses.FrozenInstanceError:
        return dataclasses.replace(value, device=wanted)
    return value


def _filled(kind: type[Any], values: Mapping[str, Any], where: str) -> tuple[Any, list[str]]:
    if not dataclasses.is_dataclass(kind):
        try:
            return kind(**values), []
        except TypeError as error:
            raise UsageError(f"{kind.__name__} does not take it: {error}", where=where, fix="correct the key") from None
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    hints = _hints(kind)
    given = {
        key: value
        for key, value in values.items()
        if key in fields and (value is not None or _takes_none(hints.get(key, Any)))
    }
    if "device" in fields:
        given.setdefault("device", None)  # the model's, later
    needed = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING and name not in given
    ]
    if needed:
        raise UsageError(
            f"{kind.__name__} needs '{needed[0]}'" + (f" and {len(needed) - 1} more" if needed[1:] else ""),
            where=where,
            fix=f"give it: {', '.join(needed)}",
        )
    given = {name: _checked(kind, name, value, where) for name, value in given.items()}
    unused = [key for key in values if key not in fields]
    return kind(**given), [f"{kind.__name__} has no {', '.join(unused)}: not used"] if unused else []


def _hints(kind: type[Any]) -> dict[str, Any]:
    """The types of a class's fields; none where they cannot be told."""
    try:
        return get_type_hints(kind)
    except (NameError, TypeError, SyntaxError):
        return {}


def _takes_none(hint: Any) -> bool:
    return hint in (Any, object, None, type(None)) or type(None) in get_args(hint)


def _typed(hints: Mapping[str, Any], name: str, value: Any) -> Any:
    """A field's value, with numbers for the texts that its type takes for numbers (``5e-1`` in a quoted or YAML text).

    All else is left as it is: ``false`` may stand for a number. Raises pydantic's `ValidationError` for what can be no
    value of the type.
    """
    if value is None or name == "device" or name not in hints:
        return value
    try:
        adapter = TypeAdapter[Any](hints[name], config=ConfigDict(arbitrary_types_allowed=True))
        return _with_numbers(value, adapter.validate_python(value))
    except PydanticUserError:
        return value


def _with_numbers(value: Any, read: Any) -> Any:
    """The value, with what the type makes of its texts where these are numbers."""
    if isinstance(value, str):
        return read if isinstance(read, bool | int | float) else value
    if isinstance(value, list) and isinstance(read, list | tuple) and len(value) == len(read):
        return [_with_numbers(*pair) for pair in zip(value, read, strict=True)]
    if isinstance(value, dict) and isinstance(read, dict) and value.keys() == read.keys():
        return {key: _with_numbers(each, read[key]) for key, each in value.items()}
    return value


def _checked(kind: type[Any], name: str, value: Any, where: str) -> Any:
    """`_typed` in the fields of a class, with a message for what can be no value."""
    try:
        return _typed(_hints(kind), name, value)
    except ValidationError as error:
        raise UsageError(
            f"bad value {value!r} of '{name}': {in_words(error.errors(include_url=False)[0])}",
            where=where,
            fix=f"see {kind.__name__}.{name}",
        ) from None


def _loaded(made: Any) -> Any:
    """What a class's own loader made; where YAML left a text in the place of a number, with the number."""
    if not dataclasses.is_dataclass(made) or isinstance(made, type):
        return made
    hints, changed = _hints(type(made)), dict[str, Any]()
    for field in dataclasses.fields(made):
        value = getattr(made, field.name, None)
        try:
            read = _typed(hints, field.name, value)
        except ValidationError:  # the loader knows what it does
            continue
        if read is not value and read != value:
            changed[field.name] = read
    for name, value in changed.items():
        object.__setattr__(made, name, value)  # a frozen one, too: nobody else has it yet
    return made
