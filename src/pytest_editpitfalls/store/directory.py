"""The store's directory: written whole or not at all, read only where every bit is as it was written. Torch-free.

::

    .pitfalls/
      .gitignore  store.json          what it is, in which format
      headers/<key>.json              `identity.RunHeader`
      records/<2 digits>/<key>.json   `records.StoredCase`

Any number of processes may use one store: files are put in place in one move, and two that write one key write the same
thing. What cannot be written is no error of the run: `Store.problem` says it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.escaping import visible

from .identity import FORMAT, RunHeader
from .stored_case import MAX_BYTES, StoredCase, StoredJudge, sealed, unsealed

OPTION = "--pitfalls-store"
WRITERS = 16
"""Records that are written at once."""

_KIND = "pytest-editpitfalls store"
_MARKER, _IGNORE, _HEADERS, _RECORDS = "store.json", ".gitignore", "headers", "records"
_KEY = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"([0-9a-f]{64})\.json")
_TEMPORARY = re.compile(r"\.[\w.]+\.tmp")

M = TypeVar("M", bound=BaseModel)


class Store:
    """A directory of results. Made by `open`.

    Attributes:
        problem: why something could not be written, the first time that it happened; else None.
        not_kept: how many records could not be written.
        broken: how many files were there and could not be read; their cases count as missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self.not_kept = 0
        self.broken = 0
        self._written: dict[str, RunHeader] = {}
        self._writers: ThreadPoolExecutor | None = None

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> Store:
        """Open the store at ``path``; one that is not there is made, or refused without ``create``.

        A directory that cannot be written is no error: what it holds is read, and `problem` says the rest.

        Raises:
            UsageError: ``path`` is something else, holds a store of another version, or (without ``create``) nothing.
        """
        store = cls(path)
        try:
            found = sorted(os.listdir(path))
        except FileNotFoundError:
            found = []
        except NotADirectoryError:
            raise UsageError(
                f"'{path}' is not a directory", where=OPTION, fix="name a directory; it is made if need be"
            ) from None
        except OSError as error:
            store._report(error)
            return store
        if store._is_store(found):
            return store
        if not create:
            raise UsageError(
                f"there is no store at '{path}'",
                where=OPTION,
                fix="name the directory that a run with --editor has written (default: .pitfalls)",
            )
        store._make()
        return store

    # -- reading

    def get(self, key: str) -> StoredCase | None:
        """The record of a case; None where there is none that can be believed (see `broken`).

        Raises `ValueError` for what is no key.
        """
        return self._load(self.record_path(key), StoredCase, key)

    def header(self, key: str) -> RunHeader | None:
        """The run header with this key; as `get`."""
        return self._load(self.header_path(key), RunHeader, key)

    def headers(self) -> list[RunHeader]:
        """All run headers that can be read, in the order of their keys."""
        return [header for key in self.header_keys() if (header := self.header(key)) is not None]

    def header_keys(self) -> list[str]:
        """Keys of all headers, readable or not."""
        return sorted(_keys_in(self.path / _HEADERS))

    def record_keys(self) -> list[str]:
        """Keys of all records, readable or not."""
        return sorted(key for folder in self._folders() for key in _keys_in(folder) if key[:2] == folder.name)

    def judges(self) -> tuple[StoredJudge, ...]:
        """What scored the texts of the cases that can be read, sorted; words that were compared are not among it."""
        found = {record.judge for key in self.record_keys() if (record := self.get(key)) is not None and record.judge}
        return tuple(sorted(found, key=repr))

    def record_path(self, key: str) -> Path:
        """Where a record is, or would be."""
        return self.path / _RECORDS / _checked(key)[:2] / f"{key}.json"

    def header_path(self, key: str) -> Path:
        """Where a header is, or would be."""
        return self.path / _HEADERS / f"{_checked(key)}.json"

    def last_written(self, header_key: str) -> float:
        """When the last record of a header was written, in seconds since 1970; 0 where that is not known."""
        try:
            return self.header_path(header_key).stat().st_mtime
        except OSError:
            return 0.0

    def temporary_files(self) -> list[Path]:
        """What killed runs have left, and what others are writing at this moment."""
        folders = [self.path, self.path / _HEADERS, *self._folders()]
        return sorted(folder / name for folder in folders for name in _names_in(folder) if _TEMPORARY.fullmatch(name))

    # -- writing

    def put(self, record: StoredCase) -> bool:
        """Keep a record; on return it is on the disk. An error does not take the place of a result.

        Returns whether it is kept; where not, `problem` says why and the run goes on.
        """
        kept = self._put(record)
        self.not_kept += not kept
        self._touch({record.header})
        return kept

    def put_all(self, records: Sequence[StoredCase]) -> list[bool]:
        """Keep the records of one batch, each as `put` does, and return which are kept; on return they are on the disk.

        A disk makes many files last in hardly more time than one, if it is told of them at once.
        """
        if self._writers is None:  # the threads are kept: starting them costs more than a small batch does
            self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="editpitfalls-store")
        parts = [records[start::WRITERS] for start in range(min(WRITERS, len(records)))]
        kept = [False] * len(records)
        for start, part in enumerate(self._writers.map(self._put_part, parts)):
            kept[start::WRITERS] = part
        self.not_kept += kept.count(False)
        self._touch({record.header for record in records})
        return kept

    def remove_all_of(self, header_key: str) -> None:
        """Take all records of a header out; where the directory does not allow it, `problem` says so."""
        try:
            for key in self.record_keys():
                if (record := self.get(key)) is not None and record.header == header_key:
                    self.record_path(key).unlink(missing_ok=True)
        except OSError as error:
            self._report(error)

    def _put_part(self, records: Sequence[StoredCase]) -> list[bool]:
        return [self._put(record) for record in records]

    def _put(self, record: StoredCase) -> bool:
        if record.is_error:
            broken = self.broken
            known = self.get(record.key)
            self.broken = broken  # it is about to be replaced
            if known is not None and not known.is_error:
                return True
        return self.write(self.record_path(record.key), sealed(record.model_dump()))

    def _touch(self, headers: Iterable[str]) -> None:
        """Give headers the time of their last record."""
        for key in headers:
            with contextlib.suppress(OSError):
                os.utime(self.header_path(key))

    def put_header(self, header: RunHeader, *, prepared: bool = False) -> bool:
        """Keep a run header, and return whether it is kept. May be called before every batch: nothing is written twice.

        The model's names of both are kept where a header of this key is there already, and its description unless it is
        ``prepared``: taken after the editor has computed something.
        """
        path = self.header_path(header.key)
        if self._written.get(header.key) == header and path.exists():
            return True
        known = self.header(header.key)
        wanted = header
        if known is not None:
            wanted = wanted.with_models(known.models)
            if not prepared:
                wanted = wanted.with_description(known.description)
        kept = wanted == known or self.write(path, sealed(wanted.model_dump(mode="json")))
        if kept:
            self._written[header.key] = header
        return kept

    def write(self, path: Path, data: bytes) -> bool:
        """Write the bytes of a sealed file to ``path``, one of this store's; whether it worked."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                _sync(path.parent.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            try:
                # not mkstemp: its files are the owner's alone, and a store may be shared
                with open(os.open(temporary, flags, 0o666), "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
            _sync(path.parent)
        except OSError as error:
            self._report(error)
            return False
        return True

    # -- inside

    def _load(self, path: Path, kind: type[M], key: str) -> M | None:
        try:
            data = read_regular(path)
        except FileNotFoundError:
            return None
        except OSError:
            self.broken += 1
            return None
        found = parsed(data, kind)
        if found is None or getattr(found, "key", None) != key:
            self.broken += 1
            return None
        return found

    def _is_store(self, found: list[str]) -> bool:
        """Whether the directory is a store already; False: it is empty, or its first run was killed at once."""
        try:
            marker = json.loads(read_regular(self.path / _MARKER))
        except OSError:
            marker = None
        except (ValueError, RecursionError):
            marker = None  # damaged: written anew, if there is nothing but ours beside it
        if isinstance(marker, dict) and marker.get("kind") == _KIND:
            if marker.get("format") == FORMAT:
                return True
            raise UsageError(
                f"the store at '{self.path}' has format {marker.get('format')!r:.40}, this version reads and writes "
                f"format {FORMAT}",
                where=OPTION,
                fix="name another directory, or delete it if its results are no longer needed",
            )
        ours = {_MARKER, _IGNORE, _HEADERS, _RECORDS}
        others = [name for name in found if name not in ours and not _TEMPORARY.fullmatch(name)]
        if others or isinstance(marker, dict):  # store.json of somebody else
            raise UsageError(
                f"'{self.path}' is a directory with something else in it ({', '.join((others or [_MARKER])[:3])})",
                where=OPTION,
                fix="name a new or an empty directory",
            )
        return False

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (NotADirectoryError, FileExistsError):
            raise UsageError(
                f"'{self.path}' cannot be made: a file is in the way", where=OPTION, fix="name another path"
            ) from None
        except OSError as error:
            self._report(error)
            return
        marker = json.dumps({"kind": _KIND, "format": FORMAT}) + "\n"
        if self.write(self.path / _IGNORE, b"*\n"):
            self.write(self.path / _MARKER, marker.encode())

    def _folders(self) -> list[Path]:
        folder = self.path / _RECORDS
        return [folder / name for name in sorted(_names_in(folder)) if re.fullmatch(r"[0-9a-f]{2}", name)]

    def _report(self, error: OSError) -> None:
        if self.problem is None:
            reason = error.strerror or type(error).__name__
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            self.problem = (
                f"the store '{visible(self.path)}' cannot be written: {reason}; what is not kept there has to be "
                f"computed again ({'free some space' if full else 'make it writable'}, or name another directory "
                f"with {OPTION})"
            )


def parsed(data: bytes, kind: type[M]) -> M | None:
    """The content of a stored file; None where a bit is wrong, or it is something else."""
    body = unsealed(data)
    if body is None:
        return None
    try:
        return kind.model_validate_json(body)
    except (ValidationError, RecursionError):
        return None


def read_regular(path: Path) -> bytes:
    """Bytes of an ordinary file of bounded size.

    Raises `OSError` where there is none, it is too large, a link or anything that is not a file (a pipe would wait).
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise OSError(errno.EINVAL, "not a file of the store")
        with open(handle, "rb", closefd=False) as file:
            data: bytes = file.read(MAX_BYTES + 1)
    finally:
        os.close(handle)
    return data


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r:.80} is not a key: 64 hexadecimal digits")
    return key


def _keys_in(folder: Path) -> Iterator[str]:
    for name in _names_in(folder):
        if (match := _NAME.fullmatch(name)) is not None:
            yield match[1]


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _sync(folder: Path) -> None:
    """Make a folder's new entries last; a file system that cannot do that does it in its own time."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
