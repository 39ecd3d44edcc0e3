"""Writing and reading the result file: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pydantic import ValidationError

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import MAX_FILE_BYTES, read_bounded
from pytest_editpitfalls.validation import usage_error

from .records import RunResults

MAX_RESULT_BYTES = 32 * MAX_FILE_BYTES


def check_writable(path: Path, *, where: str = "--pitfalls-json") -> None:
    """Find out before the run whether a result file can be written to ``path``; nothing is left behind.

    Raises:
        UsageError: its directory is absent or not writable, or it is a directory itself.
    """
    if path.is_dir():
        raise UsageError(f"'{path}' is a directory", where=where, fix="name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"the directory '{path.parent}' does not exist", where=where, fix="make it first")
    if path.exists() and not os.access(path, os.W_OK):
        raise _not_writable(path, "permission denied", where)
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
            pass
    except OSError as error:
        raise _not_writable(path, error.strerror, where) from None


def write_results(results: RunResults, path: Path, *, where: str = "--pitfalls-json") -> None:
    """Write ``results`` as JSON; as `write_text`."""
    write_text(results.model_dump_json(indent=1) + "\n", path, where=where)


def write_text(text: str, path: Path, *, where: str) -> None:
    """Write ``text`` (UTF-8): into a temporary file in the same directory, then in one move to ``path``.

    Raises:
        UsageError: the file cannot be written (``where``: the option that asked for it); an earlier file at ``path``
            is left as it was.
    """
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only the owner may read; a report is an ordinary file.
        os.chmod(temporary, _usual_mode(path))
        os.replace(temporary, path)
    except OSError as error:
        raise _not_writable(path, error.strerror, where) from None
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def read_results(path: Path) -> RunResults:
    """Read a result file.

    Raises:
        UsageError: it is absent, unreadable, too large, or no result file of this schema version.
    """
    data = read_bounded(path, MAX_RESULT_BYTES)
    try:
        return RunResults.model_validate_json(data)
    except ValidationError as error:
        raise usage_error(error, str(path), RunResults) from None


def _usual_mode(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _not_writable(path: Path, reason: str | None, where: str) -> UsageError:
    return UsageError(
        f"cannot write '{path}': {reason or 'unknown reason'}",
        where=where,
        fix="name a file in a directory that you may write to",
    )
