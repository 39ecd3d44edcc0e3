"""The editors that ship: every folder beside this module is one. Torch-free; a declaration is imported when asked for.

The editor ``ft-l`` is the folder ``ft_l``: a package whose ``__init__.py`` has an `EditorDeclaration` called
``DECLARATION``. Nothing else names it.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration


@cache
def shipped_names() -> frozenset[str]:
    """Names of the editors that ship; reads the folder and imports none of them."""
    folder = str(Path(__file__).parent)
    return frozenset(found.name.replace("_", "-") for found in pkgutil.iter_modules([folder]) if found.ispkg)


@cache
def shipped_editors() -> tuple[EditorDeclaration, ...]:
    """The declarations of the editors that ship, in the order of lists."""
    found: list[EditorDeclaration] = [importlib.import_module(package_of(n)).DECLARATION for n in shipped_names()]
    return tuple(sorted(found, key=lambda each: (each.order, each.name)))


def package_of(name: str) -> str:
    """Name of the package that a shipped editor is in."""
    return f"{__package__}.{name.replace('-', '_')}"
