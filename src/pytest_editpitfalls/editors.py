"""What authors of editors import. Names are imported when they are used: listing editors loads no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine.editors.base import EditJob, Editor, EditorResources, EditResult
    from .engine.editors.declaration import EditorDeclaration
    from .engine.editors.hyperparameters.base import Hyperparameters
    from .engine.editors.in_place.declare import in_place_editor
    from .engine.overlay import (
        Change,
        DenseDelta,
        LowRankDelta,
        Overlay,
        PromptPrefix,
        RowContext,
        Stacked,
    )
    from .errors import CaseError, UsageError
    from .program import EditRequest, SuitePrograms

__all__ = [
    "CaseError",
    "Change",
    "DenseDelta",
    "EditJob",
    "EditRequest",
    "EditResult",
    "Editor",
    "EditorDeclaration",
    "EditorResources",
    "Hyperparameters",
    "LowRankDelta",
    "Overlay",
    "PromptPrefix",
    "RowContext",
    "Stacked",
    "SuitePrograms",
    "UsageError",
    "in_place_editor",
]

_HOMES = {
    ".program": ("EditRequest", "SuitePrograms"),
    ".engine.editors.base": ("EditJob", "Editor", "EditorResources", "EditResult"),
    ".engine.editors.declaration": ("EditorDeclaration",),
    ".engine.editors.hyperparameters.base": ("Hyperparameters",),
    ".engine.editors.in_place.declare": ("in_place_editor",),
    ".engine.overlay": (
        "Change",
        "DenseDelta",
        "LowRankDelta",
        "Overlay",
        "PromptPrefix",
        "RowContext",
        "Stacked",
    ),
    ".errors": ("CaseError", "UsageError"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name], __package__), name)


def __dir__() -> list[str]:
    return __all__
