"""Files of published suites are brought into the cache: whole or not at all, and only as they are known to be."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

from pytest_editpitfalls.engine.models.cache import CACHE_VARIABLE, locked
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import file_digest

from .fetched import RemoteFile, Source

PATIENCE = 30.0
"""Seconds without an answer."""

_BLOCK = 1 << 16

Progress = Callable[[RemoteFile, int], None]
"""Called with a file and the bytes of it that are there."""


class _CutShort(Exception):
    """A connection that ended before its file did."""


def fetch(source: Source, address: str | None = None, progress: Progress | None = None) -> tuple[int, int]:
    """Bring every file of a source that is not there; return how many were brought and how many there are.

    A file that was begun is gone on with. One that is there is looked at: a damaged one is brought anew.

    Args:
        source: what to bring.
        address: where from, in place of the public one; "http:", "https:" or "file:".
        progress: called now and then.

    Raises:
        UsageError: it cannot be reached, or is not what it has to be; or the cache cannot be written.
    """
    address = (address or source.address).rstrip("/")
    if urlsplit(address).scheme not in ("http", "https", "file"):
        raise UsageError(f"'{address}' is no address", where="--from", fix="give one with http:, https: or file:")
    brought = 0
    for file in source.files:
        place = source.place(file)
        with locked(place):
            if not _is_whole(place, file):
                _bring(source, file, f"{address}/{quote(file.path)}", place, progress)
                brought += 1
        if progress is not None:
            progress(file, file.size)
    return brought, len(source.files)


def _is_whole(place: Path, file: RemoteFile) -> bool:
    return place.is_file() and place.stat().st_size == file.size and file_digest(place) == file.sha256


def _bring(source: Source, file: RemoteFile, url: str, place: Path, progress: Progress | None) -> None:
    part = place.with_name(place.name + ".part")
    went_on = part.is_file() and part.stat().st_size > 0
    try:
        _download(file, url, part, progress)
        found = file_digest(part)
        if found != file.sha256 and went_on:  # what was begun is another file's: once more from the start
            part.unlink()
            _download(file, url, part, progress)
            found = file_digest(part)
    except urllib.error.HTTPError as error:
        raise UsageError(
            f"the server answered {error.code} ({error.reason})", where=url, fix=_elsewhere(source)
        ) from None
    except _CutShort as error:
        raise UsageError(f"the file did not come whole: {error}", where=url, fix=_elsewhere(source)) from None
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise UsageError(f"it cannot be reached: {reason}", where=url, fix=_elsewhere(source)) from None
    except OSError as error:
        raise UsageError(
            f"the cache cannot be written: {error.strerror or error}",
            where=str(part),
            fix=f"make room, or set {CACHE_VARIABLE} to another directory",
        ) from None
    if found != file.sha256:
        part.unlink()
        raise UsageError(
            f"the file is not the one that was published: its SHA-256 is {found}, not {file.sha256}",
            where=url,
            fix="nothing was kept; try again, or fetch from another place with --from",
        )
    os.replace(part, place)


def _download(file: RemoteFile, url: str, part: Path, progress: Progress | None) -> None:
    """Bring a file behind what is there of it; a server that cannot go on begins anew."""
    there = part.stat().st_size if part.is_file() else 0
    if there >= file.size:
        there = 0
    request = urllib.request.Request(url, headers={"User-Agent": "pytest-editpitfalls"})
    if there and urlsplit(url).scheme != "file":
        request.add_header("Range", f"bytes={there}-")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        goes_on = getattr(answer, "status", None) == 206
        size = there if goes_on else 0
        with part.open("ab" if goes_on else "wb") as target:
            while block := answer.read(_BLOCK):
                size += len(block)
                target.write(block)
                if size > file.size:
                    break  # another file: its hash says so
                if progress is not None:
                    progress(file, size)
    if size < file.size:
        raise _CutShort(f"the connection ended after {size:,} of {file.size:,} bytes; what came is kept")


def _elsewhere(source: Source) -> str:
    return (
        f"try again where there is a network; or copy the files of {source.address} to a place that can be reached, "
        f"and give it with --from; or copy {source.directory} from a machine that has it"
    )
