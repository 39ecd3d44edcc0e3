"""Name to editor: what ``--editor`` knows. Lazy, so that the names can be listed without torch."""

from __future__ import annotations

from pytest_editpitfalls.registry import Registry

from .catalogue import SHIPPED
from .declaration import EditorDeclaration

EDITORS: Registry[EditorDeclaration] = Registry("editor", {each.name: each for each in SHIPPED})
"""Declarations of the editors that can be asked for."""
