"""Model type to family declaration; other packages add theirs through an entry point."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.registry import Registry

from .family import Family, FamilyDeclaration
from .table import FAMILIES

ENTRY_POINT_GROUP = "pytest_editpitfalls.families"


@cache
def families() -> Registry[FamilyDeclaration]:
    """Declarations by ``config.model_type``: the built-in ones and those of installed packages.

    Raises:
        UsageError: two packages declare the same model type.
    """
    registry: Registry[FamilyDeclaration] = Registry("model type", dict(FAMILIES))
    for point in entry_points(group=ENTRY_POINT_GROUP):
        registry.register(point.name, point.value)
    return registry


def family_for(config: Any) -> Family:
    """Return the family of a Hugging Face config.

    Args:
        config: the model's config; its ``model_type`` picks the declaration.

    Raises:
        UsageError: no declaration serves this model type.
    """
    registry = families()
    model_type = str(getattr(config, "model_type", "") or "?")
    if model_type not in registry:
        raise UsageError(
            f"architecture '{model_type}' is not known (known model types: {', '.join(sorted(registry))})",
            fix="write a declaration of a few lines for it: docs/families.md, 'How a declaration is written'",
        )
    declaration = registry.get(model_type)
    return declaration if isinstance(declaration, Family) else declaration(config)
