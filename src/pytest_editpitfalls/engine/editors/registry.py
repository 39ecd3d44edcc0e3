"""Name to editor: what ``--editor`` knows. Lazy, so that the names can be listed without torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_editpitfalls.registry import Registry

EDITORS: Registry[Callable[..., Any]] = Registry(
    "editor", {"rome": "pytest_editpitfalls.engine.editors.rome:Rome"}
)
"""Editor classes, called with (hyperparameters, resources)."""
