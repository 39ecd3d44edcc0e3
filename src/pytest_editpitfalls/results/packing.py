"""Records that hold their bulk packed: a run keeps thousands of them until its end."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PrivateAttr, SerializerFunctionWrapHandler, create_model, model_serializer

from .record import Record

LEVEL = 1
"""Of zlib: the fastest; a higher one saves a tenth of the bytes."""


class PackableRecord(Record):
    """A record that can be packed: the fields named in `PACKED` take a fraction of the memory.

    Whoever reads such a field of a packed record unpacks it for good, so that a change of what it holds lasts. Written
    as JSON, a packed record stays packed.
    """

    PACKED: ClassVar[tuple[str, ...]] = ()

    _packed: bytes | None = PrivateAttr(default=None)

    def pack(self) -> None:
        """Pack the record; a packed one is left as it is."""
        if self._packed is not None:
            return
        kind = type(self)
        bulk = _bulk_of(kind).model_construct(**{name: self.__dict__.pop(name) for name in kind.PACKED})
        self._packed = zlib.compress(bulk.model_dump_json().encode(), LEVEL)
        # the names of all fields, in one set for all packed records: a set of each record's own takes 2 KB
        object.__setattr__(self, "__pydantic_fields_set__", _names_of(kind))

    def _unpacked(self) -> dict[str, Any]:
        """All fields, in the order of their declaration."""
        kind = type(self)
        assert self._packed is not None
        bulk = _bulk_of(kind).model_validate_json(zlib.decompress(self._packed)).__dict__
        return {name: bulk[name] if name in bulk else self.__dict__[name] for name in kind.model_fields}

    def _unpack(self) -> None:
        if self._packed is not None:
            fields = self._unpacked()
            self.__dict__.clear()
            self.__dict__.update(fields)
            self._packed = None

    # Without a type of what it returns: that would stand in the JSON schema in place of the fields.
    @model_serializer(mode="wrap")
    def _whole(self, handler: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        return handler(self if self._packed is None else type(self).model_construct(**self._unpacked()))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Any:
        """Return a copy, which is not packed."""
        self._unpack()
        return super().model_copy(update=update, deep=deep)

    def __eq__(self, other: object) -> bool:
        """Whether both say the same, packed or not."""
        for each in (self, other):
            if isinstance(each, PackableRecord):
                each._unpack()
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field; a packed one stands beside the others of its sort then."""
        if name in type(self).PACKED:
            self._unpack()
        super().__setattr__(name, value)

    if not TYPE_CHECKING:  # a type checker would take any name for an attribute

        def __getattr__(self, name: str) -> Any:
            if name in type(self).PACKED and self._packed is not None:
                self._unpack()
                return self.__dict__[name]
            return super().__getattr__(name)


@cache
def _bulk_of(kind: type[PackableRecord]) -> type[Record]:
    """A record of the packed fields alone."""
    fields = {name: (kind.model_fields[name].annotation, kind.model_fields[name]) for name in kind.PACKED}
    return create_model(f"{kind.__name__}Bulk", __base__=Record, **fields)  # type: ignore[call-overload, no-any-return]


@cache
def _names_of(kind: type[PackableRecord]) -> set[str]:
    return set(kind.model_fields)
