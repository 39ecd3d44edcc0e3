"""UltraEdit: one closed-form update from standardised gradients, without training. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import NOTHING, EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import STEPS

DECLARATION = EditorDeclaration(
    name="ultraedit",
    order=112,
    title="UltraEdit",
    source="Gu et al. 2025 (arXiv 2505.14679); XiaojieGu/UltraEdit",
    form="low-rank",
    writes="some MLP matrices (its layers or edit_modules)",
    keeps="mean and spread of all its edits' tokens",
    experts="refused",
    draws=NOTHING,
    violates=STEPS,
    hyperparameters=f"{__name__}.hyperparameters:UltraEditHyperparameters",
    factory=f"{__name__}.editor:UltraEdit",
)
