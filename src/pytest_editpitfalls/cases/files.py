"""Reading suite files: bounded, UTF-8, inside the suite's directory, with messages that name the place."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_editpitfalls.errors import UsageError

from .case import Case, Kind

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_FILE_BYTES = 64 * 1024 * 1024
"""A suite file above this size is refused before it is read."""


@dataclass(frozen=True, slots=True)
class SuiteContent:
    """What a reader found in a suite's files; ``raw`` holds the bytes of every file, header first."""

    name: str
    kind: Kind
    format: str
    cases: tuple[Case, ...]
    thresholds: tuple[str, ...] | None
    license: str
    provenance: str
    raw: tuple[bytes, ...]


def read_bounded(path: Path) -> bytes:
    """Return the file's bytes (without a byte order mark).

    Raises:
        UsageError: the file is absent, unreadable, a directory, too large or not UTF-8.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise UsageError(
                f"the file is too large ({size / 2**20:.0f} MiB)",
                where=str(path),
                fix=f"split the suite; at most {MAX_FILE_BYTES // 2**20} MiB per file",
            )
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"cannot read the file: {reason}", where=str(path), fix="check the path") from None
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError("the file is not UTF-8", where=f"{path}:{line}", fix="save it as UTF-8") from None
    return data


def read_toml(path: Path, data: bytes) -> dict[str, Any]:
    """Parse TOML; raises `UsageError` with line and column."""
    try:
        return tomllib.loads(data.decode("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"not valid TOML: {error}", where=str(path), fix="correct the line") from None
    except RecursionError:
        raise UsageError(
            "not valid TOML: nested too deeply", where=str(path), fix="correct the file"
        ) from None


def inside(header: Path, name: str, field: str) -> Path:
    """Return the file ``name`` beside ``header``.

    Raises:
        UsageError: the name leads out of the header's directory (absolute, "..", or through a link).
    """
    path = header.parent / name
    try:
        within = path.resolve().is_relative_to(header.parent.resolve())
    except (OSError, RuntimeError, ValueError):  # a circle of links, or a character that no path may hold
        within = False
    if not within or Path(name).is_absolute():
        raise UsageError(
            f"'{name}' lies outside the suite's directory",
            where=f"{header}, field {field}",
            fix="put the file beside the header and name it without '..'",
        )
    return path


def digest(parts: Iterable[bytes]) -> str:
    """Return the SHA-256 of several files as one text; the border between two files counts."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()
