"""What was given as paths and lists, made ready: for those who read options."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pytest_editpitfalls.errors import UsageError


def unique(values: Iterable[str]) -> tuple[str, ...]:
    """Return what was given, each once, without spaces around it."""
    # pytest-xdist's workers parse the arguments on top of the controller's options: appended values come twice.
    return tuple(dict.fromkeys(value.strip() for value in values if value.strip()))


def path_of(text: str | None, folder: Path, source: str) -> Path | None:
    """Return the path, starting in ``folder``; None where nothing is given."""
    return folder / expanded(text, source) if text else None


def expanded(text: str, source: str) -> Path:
    """Return the path with ``~`` in words; raises `UsageError` for an unknown user's home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UsageError(
            f"the home directory in '{text}' is unknown", where=source, fix="write the whole path"
        ) from None
