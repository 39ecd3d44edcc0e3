"""Where fetched and converted models and fetched suites are kept, and how files get there whole. Torch-free."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from filelock import FileLock

from pytest_editpitfalls.errors import UsageError

CACHE_VARIABLE = "EDITPITFALLS_CACHE"
"""Environment variable that moves the cache."""


def cache_directory(override: Path | None = None) -> Path:
    """Return the cache: ``override``, otherwise ``$EDITPITFALLS_CACHE``, otherwise the user's cache directory."""
    if override is not None:
        return override
    if configured := os.environ.get(CACHE_VARIABLE):
        return Path(configured).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("pytest-editpitfalls", appauthor=False)


def locked(path: Path) -> FileLock:
    """A lock between processes for making ``path``; waits as long as the other process needs.

    Raises:
        UsageError: the cache cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(path.parent, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise UsageError(
            "the cache directory cannot be written",
            where=str(path.parent),
            fix=f"make it writable, or set {CACHE_VARIABLE} to a directory that is",
        )
    return FileLock(path.with_name(path.name + ".lock"))


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def remember(path: Path, text: str) -> None:
    """`write_text` for what only saves time: a cache that cannot be written is no error."""
    with contextlib.suppress(OSError):
        write_text(path, text)
