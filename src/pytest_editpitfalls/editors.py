"""What authors of editors import, and programs that edit. Names are imported when they are used: torch comes late."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine.editable import EditableModel
    from .engine.editing.declaration import EditorDeclaration
    from .engine.editing.interface import EditJob, Editor, EditorResources, EditResult
    from .engine.hyperparameters.fields import Hyperparameters
    from .engine.in_place.declare import in_place_editor
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
    "EditableModel",
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

_NAMES_BY_MODULE = {
    ".program": ("EditRequest", "SuitePrograms"),
    ".engine.editable": ("EditableModel",),
    ".engine.editing.interface": ("EditJob", "Editor", "EditorResources", "EditResult"),
    ".engine.editing.declaration": ("EditorDeclaration",),
    ".engine.hyperparameters.fields": ("Hyperparameters",),
    ".engine.in_place.declare": ("in_place_editor",),
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
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name], __package__), name)


def __dir__() -> list[str]:
    return __all__
