"""Whether a file is still the one that was read, told without reading all of it. Torch-free.

Path, size and date are not enough: container images, Nix and ``rsync -t`` give another file the same ones. The inode
and the time of the last change, which no program can set, tell such files apart; so do blocks of the content, some of
every tensor, since an edited model may differ in a single matrix. Where a file system keeps no such time (images give
whole seconds, and what the builder said), the whole content is read each time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pytest_editpitfalls.files import file_digest

from .cache import remember
from .checkpoint import HEADER_BYTES

WHOLE = 1 << 20
"""Files up to this size are read whole."""

_BLOCK = 1 << 12
_BLOCKS = 256
_SECOND = 10**9


def file_sha256(path: Path, cache: Path) -> str:
    """SHA-256 of a file; remembered in the cache for as long as the file is the same."""
    before = state_key([path])
    memo = cache / "digests" / f"{before}.txt"
    if memo.is_file():
        return memo.read_text(encoding="utf-8").strip()
    digest = file_digest(path)
    if state_key([path]) == before:  # not written meanwhile
        remember(memo, digest)
    return digest


def state_key(paths: Iterable[Path], *extra: str) -> str:
    """A key that changes when one of the files is replaced or written, whatever its date; and with ``extra``."""
    digest = hashlib.sha256()
    for path in sorted(path.resolve() for path in paths):
        status = path.stat()
        known = [str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        digest.update(json.dumps([*known, _sampled(path, status)]).encode())
    digest.update("\0".join(extra).encode())
    return digest.hexdigest()[:40]


def _sampled(path: Path, status: os.stat_result) -> str:
    if status.st_size <= WHOLE or status.st_ctime_ns % _SECOND == 0:
        return file_digest(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for place in sorted(_places(path, status.st_size)):
            file.seek(place)
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def _places(path: Path, size: int) -> set[int]:
    """Where blocks are read: all over the file, and in the middle and at both ends of every tensor of safetensors."""
    last = size - _BLOCK
    places = {last * part // (_BLOCKS - 1) for part in range(_BLOCKS)}
    if path.suffix == ".safetensors":
        for start, end in _tensors(path):
            places |= {start, max(start, (start + end - _BLOCK) // 2), max(start, end - _BLOCK)}
    return {place for place in places if 0 <= place <= last}


def _tensors(path: Path) -> Iterator[tuple[int, int]]:
    """First byte and end of every tensor, inside the file; nothing of a damaged header."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > HEADER_BYTES:
            return
        try:
            for name, entry in json.loads(file.read(length)).items():
                if name != "__metadata__":
                    start, end = entry["data_offsets"]
                    yield 8 + length + int(start), 8 + length + int(end)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return
