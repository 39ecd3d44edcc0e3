"""Where each architecture keeps its layers: one small declaration per family. See docs/families.md."""

from __future__ import annotations

from .base import Family, FamilyDeclaration
from .registry import ENTRY_POINT_GROUP, families, family_for

__all__ = ["ENTRY_POINT_GROUP", "Family", "FamilyDeclaration", "families", "family_for"]
