"""Properties of editors: what holds of any sequence of edits, looked for with hypothesis (docs/properties.md).

Names are imported when they are used: importing this package loads neither torch nor hypothesis.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bench import EditorBench
    from .catalogue import PROPERTIES, Property, property_of
    from .checks import (
        check_commute,
        check_declared_weights,
        check_deterministic,
        check_idempotent,
        check_isolated,
        check_neighbours,
        check_present_object,
        check_restoration,
    )
    from .drawn import DrawnEdit, FactToEdit, PropertyFailed
    from .facts import facts_to_edit, held_facts
    from .strategies import edit_sequences, edits, related_edits, unrelated_edits

__all__ = [
    "PROPERTIES",
    "DrawnEdit",
    "EditorBench",
    "FactToEdit",
    "Property",
    "PropertyFailed",
    "check_commute",
    "check_declared_weights",
    "check_deterministic",
    "check_idempotent",
    "check_isolated",
    "check_neighbours",
    "check_present_object",
    "check_restoration",
    "edit_sequences",
    "edits",
    "facts_to_edit",
    "held_facts",
    "property_of",
    "related_edits",
    "unrelated_edits",
]

_NAMES_BY_MODULE = {
    ".bench": ("EditorBench",),
    ".catalogue": ("PROPERTIES", "Property", "property_of"),
    ".checks": tuple(name for name in __all__ if name.startswith("check_")),
    ".drawn": ("DrawnEdit", "FactToEdit", "PropertyFailed"),
    ".facts": ("facts_to_edit", "held_facts"),
    ".strategies": ("edit_sequences", "edits", "related_edits", "unrelated_edits"),
}
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name], __package__), name)


def __dir__() -> list[str]:
    return __all__
