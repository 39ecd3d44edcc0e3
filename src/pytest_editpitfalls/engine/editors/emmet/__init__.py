"""EMMET: MEMIT's target vector in one layer, under equality constraints. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import LOCATES

DECLARATION = EditorDeclaration(
    name="emmet",
    order=80,
    title="EMMET",
    source="Gupta et al. 2024 (arXiv 2403.14236); scalable-model-editing/unified-model-editing",
    form="low-rank",
    writes="1 down-projection",
    after_norm="refused",
    second_moment=True,
    experts="refused",
    draws="context templates, text for the second moment",
    violates=LOCATES,
    hyperparameters=f"{__name__}.hyperparameters:EmmetHyperparameters",
    factory=f"{__name__}.editor:Emmet",
)
