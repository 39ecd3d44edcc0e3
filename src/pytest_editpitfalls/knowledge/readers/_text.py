"""Lines of text files, plain or compressed, with the errors that users can act on."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.knowledge.reading import Progress

EVERY = 1 << 22
"""Bytes between two calls of the progress."""


@contextmanager
def text_of(path: Path, progress: Progress | None = None) -> Iterator[TextIO]:
    """Open a file for reading, as UTF-8, without its byte order mark; `.gz` is unpacked while it is read.

    Raises:
        UsageError: it cannot be opened or read, it is not UTF-8, or its compressed stream is broken.
    """
    try:
        with path.open("rb") as file:
            counted: BinaryIO = _Counted(file, path, progress)  # type: ignore[assignment]
            raw = gzip.GzipFile(fileobj=counted) if path.name.lower().endswith(".gz") else counted
            yield io.TextIOWrapper(io.BufferedReader(raw, EVERY), encoding="utf-8-sig", newline="")  # type: ignore[type-var]
    except UnicodeDecodeError as error:
        raise UsageError(f"the file is not UTF-8 ({error.reason})", where=str(path), fix="save it as UTF-8") from None
    except EOFError:
        raise UsageError("the file breaks off: its end is missing", where=str(path), fix="fetch it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"the file cannot be unpacked: {error}", where=str(path), fix="fetch it again") from None
    except OSError as error:
        raise UsageError(
            f"cannot read the file: {error.strerror or error}", where=str(path), fix="check the path"
        ) from None


class _Counted(io.RawIOBase):
    """A file that says how far it was read."""

    def __init__(self, file: BinaryIO, path: Path, progress: Progress | None) -> None:
        self._file, self._path, self._progress = file, path, progress
        self._size = path.stat().st_size
        self._read = self._told = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._file.readinto(buffer)  # type: ignore[attr-defined]
        self._read += count
        if self._progress is not None and (self._read - self._told >= EVERY or not count):
            self._told = self._read
            self._progress(self._path, self._read, self._size)
        return int(count)
