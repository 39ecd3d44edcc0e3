"""What somebody's code imports, read off its source: an editor's adapter is a few lines, its method is elsewhere.

Read, not run: an import inside a function counts as any other. Code that lies loose (a checkout, an editable
installation) counts by its content and is read in turn; an installed distribution by its version and its list of files
with their hashes (RECORD), with all that it requires. Torch-free.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

OWN = __name__.partition(".")[0]

KEYED_ELSEWHERE = frozenset({OWN, "torch", "transformers"})
"""Keyed by their release alone (a run may go on on a machine with another build), or by our own digest."""

_OWN_DISTRIBUTIONS = frozenset({"pytest-editpitfalls", "torch", "transformers"})


@dataclass
class Imports:
    """What code imports.

    Attributes:
        packages: top-level names of code that lies loose, to be read in turn.
        distributions: (name, version, digest of RECORD) of what is installed.
        absent: names that nothing was found for, where the import is inside of a ``try``.
        unknown: other names that nothing was found for: the code may put them on the path when it runs.
        hidden: what is loaded besides, in a way that cannot be read off: code by its file, a name made when it runs.
        moves_path: whether it changes where modules are looked for.
        unreadable: installed packages, required by others, whose author goes on to change them.
    """

    packages: set[str] = field(default_factory=set)
    distributions: set[tuple[str, str, str]] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    moves_path: bool = False
    unreadable: set[str] = field(default_factory=set)


def imports_of(files: Iterable[Path]) -> Imports:
    """What these source files import, by top-level name; the standard library and this package are left out.

    Raises:
        OSError: one cannot be read.
    """
    found = Imports()
    needed: dict[str, bool] = {}
    for path in files:
        source = path.read_bytes()
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            continue  # no Python of this version: nothing runs it
        for name, is_optional in _names_in(tree):
            needed[name] = needed.get(name, False) or not is_optional
        found.hidden |= _hidden_in(tree)
        found.moves_path = found.moves_path or b"sys.path" in source or b"addsitedir" in source
    for name, is_needed in needed.items():
        if name in sys.stdlib_module_names or name in KEYED_ELSEWHERE:
            continue
        if distributions := _distributions_with(name):
            for each in distributions:
                found.distributions |= _with_requirements(each, found.unreadable)
        elif _is_there(name):
            found.packages.add(name)
        else:
            (found.unknown if is_needed else found.absent).add(name)
    return found


def _names_in(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Top-level names that a file imports, and whether it goes on where the module is not there."""
    optional = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and any(map(_catches_import_errors, node.handlers))
        for part in node.body
        for inner in ast.walk(part)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        elif isinstance(node, ast.Call) and _called(node.func) in {"import_module", "__import__"} and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and not first.value.startswith("."):
                names = [first.value]
        for name in names:
            yield name.partition(".")[0], id(node) in optional


def _catches_import_errors(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    wanted = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
    return any(kind is None or (isinstance(kind, ast.Name) and kind.id in wanted) for kind in kinds)


def _hidden_in(tree: ast.Module) -> set[str]:
    """Calls that load code in a way that its source does not tell."""
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _called(node.func)
        by_file = name in {"spec_from_file_location", "run_path", "SourceFileLoader"}
        by_text = name == "exec" and isinstance(node.func, ast.Name)
        by_name = name in {"import_module", "__import__"} and node.args and not isinstance(node.args[0], ast.Constant)
        if by_file or by_text or by_name:
            found.add(name)
    return found


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _is_there(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _distributions_with(name: str) -> list[importlib.metadata.Distribution]:
    """The installed distributions that bring ``name`` where Python finds it; none for code that lies loose."""
    found = []
    for distribution in dict.fromkeys(_distributions_by_name().get(name, ())):
        installed = importlib.metadata.distribution(distribution)
        if _record(installed) is not None and not is_editable(installed) and _brings(installed, name):
            found.append(installed)
    return found


@functools.cache
def _distributions_by_name() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def _brings(distribution: importlib.metadata.Distribution, name: str) -> bool:
    """Whether ``name`` is found in the distribution's folder, and not in one that comes before it on the path."""
    root = Path(str(distribution.locate_file(""))).resolve()
    places = _places(name)  # several for a namespace package, of which a part may lie loose
    return bool(places) and all(Path(place).resolve().is_relative_to(root) for place in places)


def _places(name: str) -> list[str]:
    module = sys.modules.get(name)
    try:
        spec = getattr(module, "__spec__", None) or importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    return [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.has_location and spec.origin else [])]


def is_editable(distribution: importlib.metadata.Distribution) -> bool:
    """Whether a distribution is installed from a directory that its author goes on to change."""
    try:
        told = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return False
    return isinstance(told, dict) and bool((told.get("dir_info") or {}).get("editable"))


def _record(distribution: importlib.metadata.Distribution) -> str | None:
    """Digest of a distribution's RECORD, without the lines of what Python compiles; None where it has none."""
    text = distribution.read_text("RECORD")
    if not text:
        return None
    lines = sorted(line for line in text.splitlines() if "__pycache__" not in line)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _with_requirements(
    distribution: importlib.metadata.Distribution, unreadable: set[str]
) -> set[tuple[str, str, str]]:
    """The distribution and all that it requires, as far as it is installed; editable ones go into ``unreadable``."""
    found: dict[str, tuple[str, str, str]] = {}
    waiting = [distribution]
    while waiting:
        each = waiting.pop()
        name = _normal(each.metadata["Name"])
        if name in found or name in _OWN_DISTRIBUTIONS:
            continue
        found[name] = (name, each.version, _record(each) or "")
        if is_editable(each):
            unreadable.add(name)  # its RECORD says nothing of its code
        for wanted in _requirements(each):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                waiting.append(importlib.metadata.distribution(wanted))
    return set(found.values())


def _requirements(distribution: importlib.metadata.Distribution) -> list[str]:
    names = []
    for text in distribution.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            names.append(requirement.name)
    return names


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
