"""RLEdit: a network, trained over chains of edits, says which outputs are wanted. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import NOTHING, EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import STEPS

DECLARATION = EditorDeclaration(
    name="rledit",
    order=111,
    title="RLEdit",
    source="Li et al. 2025 (arXiv 2502.05759); zhrli324/RLEdit",
    form="low-rank",
    writes="some MLP matrices (its layers or edit_modules)",
    keeps="mean and spread of all its edits' tokens",
    needs="a trained network (editpitfalls train-rledit)",
    training=f"{__name__}.training:RleditTrainingRun",
    experts="refused",
    draws=NOTHING,
    violates=STEPS,
    hyperparameters=f"{__name__}.hyperparameters:RleditHyperparameters",
    factory=f"{__name__}.editor:Rledit",
)
