"""Where each architecture keeps its layers: one row per family in `table`. See docs/families.md."""

from __future__ import annotations

from .family import Family, FamilyDeclaration
from .lookup import ENTRY_POINT_GROUP, families, family_for

__all__ = ["ENTRY_POINT_GROUP", "Family", "FamilyDeclaration", "families", "family_for"]
