"""Reads the header of a GGUF file once for a whole conversion, and quickly.

transformers reads the file anew for the config, the tokenizer and the weights, and the gguf package makes an array of
each number and each byte of a string out of a memory map: of a vocabulary of 49,000 words that takes seconds each time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@functools.cache
def bounded_reader() -> Any:
    """The reader of the gguf package, without its endless loop over an array that is longer than the file.

    Arrays of the header are read in one go; fields, tensors and errors are as the package's own reader has them.
    """
    import numpy as np
    from gguf.constants import GGUFValueType
    from gguf.gguf_reader import GGUFReader

    class BoundedReader(GGUFReader):  # type: ignore[misc]
        @property
        def data(self) -> Any:
            """The file's bytes."""
            return self._bytes

        @data.setter
        def data(self, mapped: Any) -> None:
            self._bytes = np.asarray(mapped)  # each slice of a np.memmap costs ten times as much

        def _get(self, offset: int, dtype: Any, count: int = 1, *rest: Any, **named: Any) -> Any:
            if int(offset) + int(count) > len(self.data):
                raise ValueError("it ends too early")
            return super()._get(offset, dtype, count, *rest, **named)

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            if raw_type != GGUFValueType.ARRAY:
                return super()._get_field_parts(orig_offs, raw_type)
            kind, count = self._get(orig_offs, np.uint32), self._get(orig_offs + 4, np.uint64)
            inner, start, length = int(kind[0]), orig_offs + 12, int(count[0])
            if inner == GGUFValueType.STRING:
                parts, end = self._strings(start, length)
                places = list(range(3, 3 + len(parts), 2))
            elif (scalar := self.gguf_scalar_to_np.get(inner)) is not None:
                values = self._get(start, scalar, length)
                if len(values) < length:
                    raise ValueError("it ends too early")
                parts, end = list(values.reshape(-1, 1)), start + values.nbytes
                places = list(range(2, 2 + len(parts)))
            else:  # arrays of arrays
                return super()._get_field_parts(orig_offs, raw_type)
            types = [GGUFValueType.ARRAY, *([GGUFValueType(inner)] if length else [])]
            return end - orig_offs, [kind, count, *parts], places, types

        def _strings(self, start: int, count: int) -> tuple[list[Any], int]:
            """Length and bytes of ``count`` strings, as arrays, and where the last one ends."""
            parts: list[Any] = []
            for _ in range(count):
                length = self._get(start, np.uint64)
                end = start + 8 + int(length[0])
                if end > len(self._bytes):
                    raise ValueError("it ends too early")
                parts += length, self._bytes[start + 8 : end]
                start = end
            return parts, start

    return BoundedReader


@contextmanager
def read_once() -> Iterator[Callable[[Path], Any]]:
    """While open, whoever asks the gguf package for a reader of one file gets the same one, and name maps are kept.

    Yields the function that gives the readers.
    """
    import gguf

    readers: dict[str, Any] = {}

    def reader(path: Any, *_mode: Any) -> Any:
        key = str(Path(path).resolve())
        if key not in readers:
            readers[key] = bounded_reader()(path)
        return readers[key]

    before = gguf.GGUFReader, gguf.get_tensor_name_map
    module: Any = gguf
    module.GGUFReader, module.get_tensor_name_map = reader, functools.cache(gguf.get_tensor_name_map)
    try:
        yield reader
    finally:
        module.GGUFReader, module.get_tensor_name_map = before
