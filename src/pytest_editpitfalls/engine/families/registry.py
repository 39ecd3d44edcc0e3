"""Model type to family declaration, lazily; other packages add theirs through an entry point."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.registry import Registry

from .base import Family, FamilyDeclaration

ENTRY_POINT_GROUP = "pytest_editpitfalls.families"

_BUILT_IN = {
    "gpt2": "gpt2:FAMILY",
    "gptj": "gptj:FAMILY",
    "gpt_neox": "gpt_neox:FAMILY",
    "llama": "llama:FAMILY",
    "mistral": "mistral:FAMILY",
    "qwen2": "qwen2:FAMILY",
    "qwen3": "qwen3:FAMILY",
    "gemma2": "gemma2:FAMILY",
    "gemma3_text": "gemma3:FAMILY",
    "phi3": "phi3:FAMILY",
    "opt": "opt:family",
    "falcon": "falcon:FAMILY",
}


@cache
def families() -> Registry[FamilyDeclaration]:
    """Declarations by ``config.model_type``: the built-in ones and those of installed packages.

    Raises:
        UsageError: two packages declare the same model type.
    """
    registry: Registry[FamilyDeclaration] = Registry(
        "model type", {name: f"{__package__}.{target}" for name, target in _BUILT_IN.items()}
    )
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
