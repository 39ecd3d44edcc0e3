"""Looking after a store: what it holds, whether it is sound, what can go, what another one has more. Torch-free."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pytest_editpitfalls.errors import UsageError

from .directory import Store, parsed, read_regular
from .identity import RunHeader
from .replay import differences, key_with_prefix
from .stored_case import StoredCase

ABANDONED = 3600.0
"""Seconds after which a temporary file belongs to a run that was killed: writing one takes less than a second."""


@dataclass
class HeaderRow:
    """One stored run, for lists.

    Attributes:
        header: the header; None where it cannot be read or is missing, and only records name it.
        differs: hyper-parameters and other facts that differ from other runs of the same editor.
        cases: records by suite.
        errors: records that hold an error.
        skipped: records of cases that cannot be scored.
        last_written: when its newest record was written, in seconds since 1970.
    """

    key: str
    header: RunHeader | None
    differs: dict[str, str] = field(default_factory=dict)
    cases: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    skipped: int = 0
    bytes: int = 0
    last_written: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The row as plain JSON types."""
        names = ("key", "differs", "errors", "skipped", "bytes", "last_written")
        row: dict[str, Any] = {name: getattr(self, name) for name in names}
        row["cases"] = dict(self.cases)
        if self.header is not None:
            row |= self.header.identity
            row["models"] = [name.model_dump() for name in self.header.models]
        return row


@dataclass
class CheckReport:
    """What `check` found: how many files are sound, which are not, and records whose header is missing."""

    headers: int = 0
    records: int = 0
    broken: list[Path] = field(default_factory=list)
    without_header: list[Path] = field(default_factory=list)
    temporary: list[Path] = field(default_factory=list)


@dataclass
class Pruned:
    """What `prune` removed (or would): numbers of files, and their bytes."""

    headers: int = 0
    records: int = 0
    broken: int = 0
    temporary: int = 0
    bytes: int = 0


@dataclass
class Merged:
    """What `merge` copied: new headers and records, records that were there already, and files left out as broken."""

    headers: int = 0
    records: int = 0
    present: int = 0
    broken: list[Path] = field(default_factory=list)


def listing(store: Store) -> list[HeaderRow]:
    """Every stored run, the one written last first."""
    rows = {key: HeaderRow(key, header) for key, header, _ in _headers(store)}
    for key, row in rows.items():
        row.bytes, row.last_written = _size_and_time(store.header_path(key))
    for path, record in _records(store):
        if record is None:
            continue
        row = rows.setdefault(record.header, HeaderRow(record.header, None))
        size, written = _size_and_time(path)
        row.bytes += size
        row.last_written = max(row.last_written, written)
        row.cases[record.suite] += 1
        row.errors += record.is_error
        row.skipped += record.skipped is not None
    _tell_differences([row for row in rows.values() if row.header is not None])
    return sorted(rows.values(), key=lambda row: (-row.last_written, row.key))


def check(store: Store) -> CheckReport:
    """Read and verify every file."""
    report = CheckReport(temporary=store.temporary_files())
    sound: set[str] = set()
    for key, header, path in _headers(store):
        if header is None:
            report.broken.append(path)
        else:
            sound.add(key)
    report.headers = len(sound)
    for path, record in _records(store):
        if record is None:
            report.broken.append(path)
        else:
            report.records += 1
            if record.header not in sound:
                report.without_header.append(path)
    return report


def prune(
    store: Store,
    *,
    keep_newest: bool = False,
    older_than_days: float | None = None,
    headers: Sequence[str] = (),
    broken: bool = False,
    dry_run: bool = False,
) -> Pruned:
    """Remove stored results; what several arguments name is removed together. What killed runs left goes in any case.

    Args:
        keep_newest: of each editor and model (by its label), all runs but the one written last.
        older_than_days: records written before that, and headers that lose all of their records by it.
        headers: beginnings of header keys: these runs.
        broken: files that cannot be read.
        dry_run: only count.

    Raises:
        UsageError: a beginning that no run or several runs have, a negative number of days, or a store that cannot be
            written.
    """
    if older_than_days is not None and not older_than_days >= 0:
        raise UsageError(f"{older_than_days} is no number of days", where="--older-than", fix="write for instance 30")
    done = Pruned()
    removed: list[tuple[Path, str]] = []
    found = list(_headers(store))
    records = [(path, None if record is None else record.header) for path, record in _records(store)]
    doomed = _named(found, records, headers)
    if keep_newest:
        doomed |= _outdated(store, [header for _, header, _ in found if header is not None])
    limit = None if older_than_days is None else time.time() - older_than_days * 86400
    left: Counter[str] = Counter()
    had: Counter[str] = Counter()
    for path, of_header in records:
        if of_header is None:
            if broken:
                removed.append((path, "broken"))
            continue
        had[of_header] += 1
        if of_header in doomed or (limit is not None and _size_and_time(path)[1] < limit):
            removed.append((path, "records"))
        else:
            left[of_header] += 1
    for key, header, path in found:
        if header is None:
            if broken:
                removed.append((path, "broken"))
        elif not left[key] and (key in doomed or (had[key] and limit is not None)):
            removed.append((path, "headers"))
    removed += [
        (path, "temporary") for path in store.temporary_files() if _size_and_time(path)[1] < time.time() - ABANDONED
    ]
    for path, what in removed:
        size = _size_and_time(path)[0]
        if not dry_run:
            _remove(path)
        setattr(done, what, getattr(done, what) + 1)
        done.bytes += size
    return done


def merge(store: Store, other: Store) -> Merged:
    """Copy into ``store`` what ``other`` has more: verified, byte for byte, with its time.

    An error does not take the place of a result, and a result does take that of an error.

    Raises:
        UsageError: both are the same directory, or ``store`` cannot be written.
    """
    if store.path.resolve() == other.path.resolve():
        raise UsageError("a store cannot be merged with itself", where=str(other.path), fix="name another one")
    done = Merged()
    for key, header, path in _headers(other):
        if header is None:
            done.broken.append(path)
        elif store.header(key) is None:
            _copy(path, store.header_path(key), store, RunHeader)
            done.headers += 1
        else:
            store.put_header(header)  # this store's, with the other's names of the model
    for path, record in _records(other):
        if record is None:
            done.broken.append(path)
            continue
        known = store.get(record.key)
        if known is not None and (record.is_error or not known.is_error):
            done.present += 1
            continue
        _copy(path, store.record_path(record.key), store, StoredCase)
        done.records += 1
    if store.problem is not None:
        raise UsageError(store.problem, where=str(store.path))
    return done


def _headers(store: Store) -> Iterator[tuple[str, RunHeader | None, Path]]:
    for key in store.header_keys():
        yield key, store.header(key), store.header_path(key)


def _records(store: Store) -> Iterator[tuple[Path, StoredCase | None]]:
    for key in store.record_keys():
        path = store.record_path(key)
        record = store.get(key)
        if record is not None or os.path.lexists(path):  # another process may have pruned it
            yield path, record


def _tell_differences(rows: list[HeaderRow]) -> None:
    """Fill in `HeaderRow.differs`: in what a run differs from others of its editor."""
    for editor in {row.header.editor for row in rows if row.header is not None}:
        same = [(row, row.header) for row in rows if row.header is not None and row.header.editor == editor]
        table = differences([header for _, header in same])
        for place, (row, _) in enumerate(same):
            row.differs = {name: values[place] for name, values in table.items()}


def _named(
    found: list[tuple[str, RunHeader | None, Path]],
    records: list[tuple[Path, str | None]],
    prefixes: Sequence[str],
) -> set[str]:
    keys = {key for key, _, _ in found} | {of_header for _, of_header in records if of_header is not None}
    return {key_with_prefix(keys, prefix, where="--run") for prefix in prefixes}


def _outdated(store: Store, headers: list[RunHeader]) -> set[str]:
    """All runs but the newest of each editor and model."""
    newest: dict[tuple[str, str], RunHeader] = {}
    for header in sorted(headers, key=lambda each: store.last_written(each.key)):
        for name in header.models:
            newest[header.editor, name.label] = header
    kept = {header.key for header in newest.values()}
    return {header.key for header in headers} - kept


def _copy(source: Path, target: Path, store: Store, kind: type[BaseModel]) -> None:
    """Copy a sealed file, with its time."""
    try:
        data = read_regular(source)
        status = source.stat()
    except OSError:
        return
    if parsed(data, kind) is None:
        return  # written over since it was looked at
    if store.write(target, data):
        with contextlib.suppress(OSError):
            os.utime(target, (status.st_atime, status.st_mtime))


def _size_and_time(path: Path) -> tuple[int, float]:
    try:
        status = path.lstat()
    except OSError:
        return 0, 0.0
    return status.st_size, status.st_mtime


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot remove the file: {error.strerror}", where=str(path), fix="make the store writable"
        ) from None
