"""MEND: a trained network turns gradients into updates. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import NOTHING, EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import TRAINS

DECLARATION = EditorDeclaration(
    name="mend",
    order=110,
    title="MEND",
    source="Mitchell et al. 2022 (arXiv 2110.11309); eric-mitchell/mend",
    form="low-rank",
    writes="all MLP matrices of the last 3 blocks",
    targets="averaged",
    needs="a trained network (editpitfalls train-mend)",
    training=f"{__name__}.training:MendTrainingRun",
    experts="refused",
    draws=NOTHING,
    violates=TRAINS,
    hyperparameters=f"{__name__}.hyperparameters:MendHyperparameters",
    factory=f"{__name__}.editor:Mend",
)
