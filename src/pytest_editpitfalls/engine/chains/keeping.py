"""Edited models and what editors keep, as tensors and plain JSON, so that a file can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from torch import Tensor

from pytest_editpitfalls.engine.overlay import DenseDelta, FoldedDelta, LowRankDelta

_KEPT: dict[str, type[Any]] = {kind.__name__: kind for kind in (LowRankDelta, DenseDelta, FoldedDelta)}
C = TypeVar("C")


class NotKeepable(Exception):
    """Something of a kind that no file holds."""


def keepable(kind: type[C]) -> type[C]:
    """Say of a dataclass that its fields may be written to a file and read again; fields that init takes count."""
    assert is_dataclass(kind)
    _KEPT[kind.__name__] = kind
    return kind


def as_plain(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return a value as JSON types; its tensors go into ``tensors``.

    Raises:
        NotKeepable: there is something else in it.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach()
        return {"tensor": name}
    if type(value) in (list, tuple):  # a subclass, as a NamedTuple is one, would come back as another type
        return {type(value).__name__: [as_plain(each, tensors) for each in value]}
    if type(value) is dict:
        return {"dict": [[as_plain(key, tensors), as_plain(each, tensors)] for key, each in value.items()]}
    if _KEPT.get(type(value).__name__) is type(value):
        parts = {each.name: as_plain(getattr(value, each.name), tensors) for each in fields(value) if _counts(each)}
        return {"kind": type(value).__name__, "fields": parts}
    raise NotKeepable(type(value).__name__)


def from_plain(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return what `as_plain` was given.

    Raises:
        ValueError, KeyError, TypeError: it is not of that form.
    """
    if not isinstance(plain, dict):
        return plain
    if "kind" in plain:
        parts = {name: from_plain(each, tensors) for name, each in plain["fields"].items()}
        return _KEPT[plain["kind"]](**parts)
    ((form, value),) = plain.items()
    if form == "tensor":
        return tensors[value].clone()  # the file is mapped into memory, and may be removed
    if form == "dict":
        return {from_plain(key, tensors): from_plain(each, tensors) for key, each in value}
    parts_of = [from_plain(each, tensors) for each in value]
    if form not in ("list", "tuple"):
        raise ValueError(form)
    return tuple(parts_of) if form == "tuple" else parts_of


def _counts(field: Any) -> bool:
    return bool(field.compare)
