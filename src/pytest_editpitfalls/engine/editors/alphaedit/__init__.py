"""AlphaEdit: MEMIT in the null space of known keys. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import LOCATES

DECLARATION = EditorDeclaration(
    name="alphaedit",
    order=100,
    title="AlphaEdit",
    source="Fang et al. 2025 (arXiv 2410.02355); jianghoucheng/AlphaEdit",
    form="low-rank",
    writes="5 or 6 down-projections (its layers)",
    keeps="keys of its earlier edits, by layer",
    after_norm="refused",
    second_moment=True,
    experts="refused",
    draws="context templates, text for the second moment",
    violates=LOCATES,
    hyperparameters=f"{__name__}.hyperparameters:AlphaEditHyperparameters",
    factory=f"{__name__}.editor:AlphaEdit",
)
