"""Reading files that users name: bounded, UTF-8, inside their directory, with messages that name the place."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_editpitfalls.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_FILE_BYTES = 64 * 1024 * 1024
"""A larger suite file is refused."""

MAX_BENCHMARK_BYTES = 256 * 1024 * 1024
"""The same for a file of another benchmark, which is read whole: some hold 100,000 records."""

MAX_SMALL_FILE_BYTES = 4 * 1024 * 1024
"""The same for headers, relations, paraphrases and hyper-parameters."""
MAX_TOML_DOTS = 1000
"""Dots in one line: the parser's time grows with the square of the parts of a dotted key."""

MAX_CASES = 100_000
MAX_LABEL = 500
"""Characters of a label, an id or a rule."""
MAX_PROMPT = 2000
"""Characters of a prompt or a remark."""
MAX_PARAPHRASES = 1000
MAX_TRUE_OBJECTS = 1000


def read_bounded(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return the file's bytes (without a byte order mark).

    Raises:
        UsageError: the file is absent, unreadable, not an ordinary file, larger than ``limit`` or not UTF-8.
    """
    try:
        with open(path, "rb", opener=without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError("this is a device or a pipe, not a file", where=str(path), fix="name an ordinary file")
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a character that no path may hold
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UsageError(f"cannot read the file: {reason}", where=str(path), fix="check the path") from None
    if len(data) > limit:
        raise UsageError(
            f"the file is too large (more than {limit / 2**20:g} MiB)",
            where=str(path),
            fix="check the path, or split the file",
        )
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError("the file is not UTF-8", where=f"{path}:{line}", fix="save it as UTF-8") from None
    return data


def without_waiting(path: str, flags: int) -> int:
    """Open, but not wait for the writer of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def is_there(path: Path, where: str | None = None) -> bool:
    """Whether there is anything at ``path``; a link that leads nowhere is nothing.

    Raises:
        UsageError: that cannot be found out: a circle of links, a name too long, a directory that may not be read.
            ``where`` is the option that named it.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # ValueError: a character that no path may hold
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot look for '{path}': {reason}", where=where, fix="check the path") from None
    return True


def absolute(path: Path) -> Path:
    """Return the path with its links followed; a circle of links is left for whoever opens the file."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:
        return path.absolute()


def read_toml(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return what a TOML file holds, and its bytes; raises `UsageError` as `read_bounded`, or with line and column."""
    data = read_bounded(path, MAX_SMALL_FILE_BYTES)
    if max((line.count(b".") for line in data.splitlines()), default=0) > MAX_TOML_DOTS:
        raise UsageError(
            f"not read as TOML: a line with more than {MAX_TOML_DOTS} dots",
            where=str(path),
            fix="break the line",
        )
    try:
        tables = tomllib.loads(data.decode("utf-8"))
    except ValueError as error:  # TOMLDecodeError, or an integer of thousands of digits
        raise UsageError(f"not valid TOML: {error}", where=str(path), fix="correct the line") from None
    except RecursionError:
        raise UsageError("not valid TOML: nested too deeply", where=str(path), fix="correct the file") from None
    waiting: list[Any] = [tables]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value
        elif isinstance(value, int) and value.bit_length() > 63:
            raise UsageError("an integer of more than 64 bits", where=str(path), fix="correct the number")
    return tables, data


def refuse_repeated_fields(data: bytes, where: str) -> None:
    """Raise `UsageError` where an object of a valid JSON text has one field twice: readers differ on which counts."""

    def fields(pairs: list[tuple[str, object]]) -> None:
        if len(dict(pairs)) < len(pairs):
            twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise UsageError(f"the field '{twice}' stands twice in one object", where=where, fix="keep one")

    # Numbers stay text: a long one would be refused by Python with an error of its own.
    json.loads(data, object_pairs_hook=fields, parse_int=str, parse_float=str)


def inside(header: Path, name: str, field: str) -> Path:
    """Return the file ``name`` beside ``header``.

    Raises:
        UsageError: the name leads out of the header's directory (absolute, "..", or through a link).
    """
    path = header.parent / name
    if not absolute(path).is_relative_to(absolute(header.parent)) or Path(name).is_absolute():
        raise UsageError(
            f"'{name}' lies outside the suite's directory",
            where=f"{header}, field {field}",
            fix="put the file beside the header and name it without '..'",
        )
    return path


def plain_name(name: str) -> str:
    """Return a file's or directory's name as it may stand in a suite's name, and so in node ids."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content; raises `OSError` where it cannot be read."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            found.update(block)
    return found.hexdigest()


def digest(parts: Iterable[bytes]) -> str:
    """Return the SHA-256 of several files as one text; the border between two files counts."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()
