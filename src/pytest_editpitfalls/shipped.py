"""Where the data lie that ship with the package: suites, and the facts that they are built from."""

from __future__ import annotations

from pathlib import Path

from pytest_editpitfalls.errors import UsageError


def suites_directory() -> Path:
    """Return the directory of the suites that ship.

    In a source tree (an editable install) it is the top-level ``suites``, so that edits there take effect,
    even where the installer left a copy beside the package; in a wheel it is ``pytest_editpitfalls/_suites``.

    Raises:
        UsageError: there is neither.
    """
    package = Path(__file__).resolve().parent
    root = package.parent.parent
    source = root / "suites"
    if package.parent.name == "src" and (root / "pyproject.toml").is_file() and source.is_dir():
        return source
    installed = package / "_suites"
    if installed.is_dir():
        return installed
    raise UsageError(
        "the suites that ship are not installed",
        where=str(installed),
        fix="install pytest-editpitfalls again",
    )


def facts_directory() -> Path:
    """Return the directory of the facts, relations and rules that ship; raises as `suites_directory`."""
    return suites_directory() / "facts"
