"""Arguments of an in-place editor that are objects of its own: ``hparams``, made of a file or a table. Torch-free."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from pytest_editpitfalls.engine.hyperparameters.released import read_released
from pytest_editpitfalls.errors import UsageError

_LOADERS = ("from_hparams", "from_json")


def is_structured(annotation: Any) -> bool:
    """Whether the value is an object that is made of a file or a table: a dataclass, or a class with a loader."""
    return isinstance(annotation, type) and (
        dataclasses.is_dataclass(annotation) or any(callable(getattr(annotation, name, None)) for name in _LOADERS)
    )


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
    path = Path(value)
    if folder is not None and not path.is_file():
        path = folder / path
    if not path.is_file():
        raise UsageError(f"there is no file {value}", where=where, fix="check the path of the hyper-parameter file")
    loaders = [getattr(kind, name) for name in _LOADERS if callable(getattr(kind, name, None))]
    if loaders:
        loader = loaders[-1] if path.suffix.lower() == ".json" else loaders[0]
        try:
            return loader(str(path)), []
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
    _check_types(kind, given, where)
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


def _check_types(kind: type[Any], given: Mapping[str, Any], where: str) -> None:
    """Refuse what can be no value of a field's type. What can is left as it is: ``false`` may stand for a number."""
    hints = _hints(kind)
    for name, value in given.items():
        if value is None or name == "device":
            continue
        try:
            TypeAdapter(hints[name], config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
        except (KeyError, PydanticUserError):
            continue
        except ValidationError as error:
            message = error.errors(include_url=False)[0]["msg"]
            raise UsageError(
                f"bad value {value!r} of '{name}': {message[:1].lower()}{message[1:]}",
                where=where,
                fix=f"see {kind.__name__}.{name}",
            ) from None
