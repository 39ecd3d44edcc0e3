"""FT: unconstrained fine-tuning of one matrix. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import NOTHING, EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import TRAINS

DECLARATION = EditorDeclaration(
    name="ft",
    order=10,
    title="FT",
    source="Meng et al. 2022 (arXiv 2202.05262), unconstrained; kmeng01/memit baselines/ft",
    form="dense",
    writes="1 down-projection, bias included",
    whole_matrices=True,
    targets="averaged",
    experts="refused",
    draws=NOTHING,
    violates=TRAINS,
    hyperparameters=f"{__name__}.hyperparameters:FtHyperparameters",
    factory=f"{__name__}.editor:Ft",
)
