"""Finds the installed packages, and refuses any version but the pinned one."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class Missing(Exception):
    """A package is not installed, or not in the pinned version."""


def pinned() -> dict[tuple[str, str], str]:
    """Return the version of each package, by registry and name."""
    versions = {}
    for line in (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            versions["PyPI", name] = version
    npm = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return versions | {("npm", name): version for name, version in npm.items()}


class Packages:
    """The installed packages.

    Args:
        node_modules: where npm put its packages.

    Raises:
        Missing: one is not there, or in another version than the pinned one.
    """

    def __init__(self, node_modules: Path) -> None:
        self.node_modules = node_modules
        self.versions = pinned()
        wrong = [
            f"{registry} {name}=={version} (found: {found or 'none'})"
            for (registry, name), version in self.versions.items()
            if (found := self._installed(registry, name)) != version
        ]
        if wrong:
            raise Missing(
                f"not installed as pinned: {', '.join(wrong)}.\n"
                "In suites/facts/extract: pip install -r requirements.txt; npm install --ignore-scripts"
            )

    def _installed(self, registry: str, name: str) -> str | None:
        if registry == "npm":
            manifest = self.node_modules / name / "package.json"
            return json.loads(manifest.read_text(encoding="utf-8"))["version"] if manifest.is_file() else None
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    def python(self, name: str, path: str) -> Path:
        """Return a file of a Python package, which is not imported."""
        return Path(str(importlib.metadata.distribution(name).locate_file(path)))

    def npm(self, path: str) -> Path:
        """Return a file or folder of an npm package."""
        return self.node_modules / path

    def json(self, path: str) -> Any:
        """Read a JSON file of an npm package."""
        return json.loads(self.npm(path).read_text(encoding="utf-8"))
