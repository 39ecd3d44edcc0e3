"""Writing files that users name: whole or not at all; through links; into pipes and devices; on standard output."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from pytest_editpitfalls.errors import UsageError

STANDARD_OUTPUT = Path("-")
"""Stands for standard output wherever a file to write is named."""

PATIENCE = 5.0
"""Seconds that a named pipe may have no reader when it is written."""

_PREFIX = ".pitfalls-"
"""Of temporary files: short, so that every name that a file may have can be written."""

_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_OPEN_FILE = re.compile(r"/(?:dev/fd|proc/(?:self|thread-self|\d+)/fd)/(\d{1,9})")
_MOST_LINKS = 40


def check_writable(path: Path, *, where: str) -> None:
    """Find out before the work whether ``path`` can be written; nothing is left behind, nothing is opened for good.

    Raises:
        UsageError: it cannot be (``where``: the option that names it), or it is nothing that a report is written into.
    """
    if is_standard_output(path):
        return
    if (number := _open_file(path)) is not None:
        if not _is_open_for_writing(number):
            raise _not_writable(path, f"descriptor {number} is not open for writing", where)
        return
    try:
        mode = _mode(path)
        target = Path(os.path.realpath(path))
        if mode is not None and stat.S_ISDIR(mode):
            raise UsageError(f"'{path}' is a directory", where=where, fix="name a file in it")
        if mode is not None and (stat.S_ISBLK(mode) or stat.S_ISSOCK(mode)):
            kind = "disk" if stat.S_ISBLK(mode) else "socket"
            raise UsageError(f"'{path}' is a {kind}", where=where, fix="name a file")
        if mode is not None and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if mode is None or stat.S_ISREG(mode):
            folder = target.parent if os.path.islink(path) else path.parent
            if not folder.is_dir():
                raise UsageError(f"the directory '{folder}' does not exist", where=where, fix="make it first")
            with tempfile.NamedTemporaryFile(dir=target.parent, prefix=_PREFIX):
                pass
    except (OSError, ValueError) as error:
        raise _not_writable(path, _reason(error, path), where) from None


def write_text(text: str | Iterable[str], path: Path, *, where: str) -> None:
    """Write ``text``, or one piece of it after another, as UTF-8 to ``path``.

    A file is written beside itself and put in its place in one move; where ``path`` is a link, the file that it leads
    to is, and the link stays. Pipes, devices and files that are open already (``/dev/fd/3``) are written into.

    Raises:
        UsageError: it cannot be written (``where``: the option that asked for it); an earlier file is left as it was.
    """
    data = (piece.encode("utf-8") for piece in ([text] if isinstance(text, str) else text))
    try:
        if is_standard_output(path):
            _print(data)
        elif (number := _open_file(path)) is not None:
            _write_into(os.dup(number), data)
        elif (mode := _mode(path)) is not None and not stat.S_ISREG(mode):
            _write_into(_opened(path, mode), data)
        else:
            _replace(data, Path(os.path.realpath(path)), mode)
    except (OSError, ValueError) as error:
        raise _not_writable(path, _reason(error, path), where) from None


def is_standard_output(path: Path) -> bool:
    """Whether what is written there appears on standard output."""
    return path == STANDARD_OUTPUT or _open_file(path) == 1


def refuse_shared(outputs: Iterable[tuple[str, Path]], inputs: Iterable[tuple[str, Path]] = ()) -> None:
    """Raise `UsageError` where two outputs are one file, or an output is a file that is read; each with its option.

    Links, hard links and other spellings of a path count as the same; ``/dev/null`` takes everything.
    """
    read = {place: where for where, path in inputs if (place := _place(path)) is not None}
    written: dict[object, str] = {}
    for where, path in outputs:
        if (place := _place(path)) is None:
            continue
        name = "standard output" if is_standard_output(path) else f"'{path}'"
        if place in written:
            raise UsageError(
                f"both would be written to {name}",
                where=f"{written[place]} and {where}",
                fix="give each a place of its own",
            )
        if place in read:
            raise UsageError(
                f"{name} would be written over: it is read ({read[place]})",
                where=where,
                fix="give it a place of its own",
            )
        written[place] = where


def _place(path: Path) -> object:
    """Return what two paths of one file have in common; None where any number may be written."""
    if is_standard_output(path):
        return STANDARD_OUTPUT
    try:
        found, null = os.stat(path), os.stat(os.devnull)
    except (OSError, ValueError):
        return os.path.normcase(os.path.realpath(path)) if "\0" not in str(path) else None
    if stat.S_ISCHR(found.st_mode) and found.st_rdev == null.st_rdev:
        return None
    return found.st_dev, found.st_ino


def _open_file(path: Path) -> int | None:
    """Return the number of the open file that ``path`` is another name of (``/dev/fd/3``); None where it is none.

    Such a file is not opened again: that would begin at its start, and write over what the shell has put there.
    """
    text = os.path.abspath(path) if "\0" not in str(path) else ""
    for _ in range(_MOST_LINKS):
        if text in _STREAMS:
            return _STREAMS[text]
        if match := _OPEN_FILE.fullmatch(text):
            return int(match[1])
        try:
            text = os.path.normpath(os.path.join(os.path.dirname(text), os.readlink(text)))
        except (OSError, ValueError):
            return None
    return None


def _is_open_for_writing(number: int) -> bool:
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        return fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        return False


def _mode(path: Path) -> int | None:
    """Return what ``path`` is; None where it is nothing yet. Raises `OSError` for a circle of links and the like."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


def _replace(data: Iterable[bytes], path: Path, mode: int | None) -> None:
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=_PREFIX, suffix=".tmp")
        with open(descriptor, "wb") as file:
            file.writelines(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only the owner may read; a report is an ordinary file.
        os.chmod(temporary, _usual_mode() if mode is None else mode & 0o777)
        os.replace(temporary, path)
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def _opened(path: Path, mode: int) -> int:
    """Open a device or a pipe for writing; raises `OSError`, also where nobody comes to read from the pipe."""
    if not stat.S_ISFIFO(mode):
        return os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0))
    last = time.monotonic() + PATIENCE
    while (descriptor := _opened_pipe(path)) is None:
        if time.monotonic() > last:
            raise OSError(errno.ENXIO, f"nobody reads from this pipe (for {PATIENCE:g} s)")
        time.sleep(0.05)
    os.set_blocking(descriptor, True)
    return descriptor


def _opened_pipe(path: Path) -> int | None:
    """Open a named pipe if somebody reads from it now: to wait for one in ``open`` could take forever."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None


def _write_into(descriptor: int, data: Iterable[bytes]) -> None:
    with open(descriptor, "wb") as file:
        file.writelines(data)


def _print(data: Iterable[bytes]) -> None:
    stream = sys.stdout
    if stream is None:
        raise OSError(errno.EBADF, "there is no standard output")
    stream.flush()
    if (binary := getattr(stream, "buffer", None)) is not None:
        binary.writelines(data)
        binary.flush()
    else:
        stream.writelines(piece.decode("utf-8") for piece in data)
        stream.flush()


def _usual_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _reason(error: OSError | ValueError, path: Path) -> str:
    if isinstance(error, NotADirectoryError):
        file = next((each for each in reversed(path.parents) if each.exists() and not each.is_dir()), path.parent)
        return f"'{file}' is a file, not a directory"
    return getattr(error, "strerror", None) or str(error) or "unknown reason"


def _not_writable(path: Path, reason: str, where: str) -> UsageError:
    return UsageError(
        f"cannot write '{path}': {reason}",
        where=where,
        fix="name a file in a directory that you may write to",
    )
