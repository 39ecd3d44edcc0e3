"""MEMIT: several layers share the residual of one target vector. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import LOCATES

DECLARATION = EditorDeclaration(
    name="memit",
    order=70,
    title="MEMIT",
    source="Meng et al. 2023 (arXiv 2210.07229); kmeng01/memit",
    form="low-rank",
    writes="5 or 6 down-projections (its layers)",
    after_norm="refused",
    second_moment=True,
    experts="refused",
    draws="context templates, text for the second moment",
    violates=LOCATES,
    hyperparameters=f"{__name__}.hyperparameters:MemitHyperparameters",
    factory=f"{__name__}.editor:Memit",
)
