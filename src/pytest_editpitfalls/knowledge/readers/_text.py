"""Bytes and lines of files that may be compressed and large, with the errors that users can act on."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import without_waiting
from pytest_editpitfalls.knowledge.reading import Progress

EVERY = 1 << 22
"""Bytes between two calls of the progress."""
LONGEST_LINE = 1 << 20
"""Bytes of a line; what is longer is no table of facts."""
HEAD = 1 << 16
COMPRESSIONS = (".gz", ".bz2", ".xz")
_UNPACKERS: dict[bytes, Callable[[BinaryIO], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
"""By how files begin, not by their suffix: browsers unpack a .gz and keep its name."""


@contextmanager
def bytes_of(path: Path, progress: Progress | None = None) -> Iterator[BinaryIO]:
    """Open a file for reading; what is compressed (gzip, bzip2, xz) is unpacked on the way.

    Raises:
        UsageError: it cannot be opened or read, it is no ordinary file, or its compressed stream is broken.
    """
    try:
        with _opened(path) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError("this is a device or a pipe, not a file", where=str(path), fix="name an ordinary file")
            start = file.read(8)
            file.seek(0)
            counted = cast(BinaryIO, _Counted(file, path, progress))
            unpack = next((unpack for magic, unpack in _UNPACKERS.items() if start.startswith(magic)), None)
            raw = cast(io.RawIOBase, counted if unpack is None else unpack(counted))
            yield cast(BinaryIO, io.BufferedReader(raw, 1 << 18))
    except EOFError:
        raise UsageError("the file breaks off: its end is missing", where=str(path), fix="fetch it again") from None
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise UsageError(f"the file cannot be unpacked: {error}", where=str(path), fix="fetch it again") from None
    except IsADirectoryError:
        raise UsageError("this is a directory", where=str(path), fix="name the files in it one by one") from None
    except OSError as error:
        if error.errno is None:  # bz2 has no exception of its own
            raise UsageError(f"the file cannot be unpacked: {error}", where=str(path), fix="fetch it again") from None
        raise UsageError(
            f"cannot read the file: {error.strerror or error}", where=str(path), fix="check the path"
        ) from None


def _opened(path: Path) -> BinaryIO:
    try:
        return open(path, "rb", opener=without_waiting)
    except ValueError as error:  # a character that no path may hold
        raise UsageError(f"cannot read the file: {error}", where=str(path), fix="check the path") from None


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file, unpacked; what is wrong with it is for the reader to say."""
    with suppress(UsageError), bytes_of(path) as file:
        return file.read(HEAD).removeprefix(b"\xef\xbb\xbf")
    return b""


def lines_of(
    path: Path, progress: Progress | None = None, longest: int = LONGEST_LINE
) -> Iterator[tuple[int, str | None]]:
    """Give the lines of a file with their numbers, without its byte order mark; None for a line that is too long.

    Raises:
        UsageError: as `bytes_of`, or a line is not UTF-8.
    """
    with bytes_of(path, progress) as file:
        number = 0
        while line := file.readline(longest + 1):
            number += 1
            if len(line) > longest and not line.endswith(b"\n"):
                while (rest := file.readline(longest)) and not rest.endswith(b"\n"):
                    pass
                yield number, None
                continue
            yield number, decoded(line, path, number)


def decoded(data: bytes, path: Path, line: int = 1) -> str:
    """Return a line, or a whole file, as text, without a byte order mark.

    Raises:
        UsageError: it is not UTF-8.
    """
    if line == 1:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:100]:
            raise UsageError("the file is UTF-16 or UTF-32", where=str(path), fix="save it as UTF-8")
        data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        raise UsageError(
            f"the file is not UTF-8 ({error.reason})", where=f"{path}:{line}", fix="save it as UTF-8"
        ) from None


class _Counted(io.RawIOBase):
    """A file that says how far it was read."""

    def __init__(self, file: BinaryIO, path: Path, progress: Progress | None) -> None:
        self._file, self._path, self._progress = file, path, progress
        self._size = os.fstat(file.fileno()).st_size
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
