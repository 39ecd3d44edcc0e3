"""FT-L: fine-tuning of one matrix, every entry held near its start. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import NOTHING, EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import TRAINS

DECLARATION = EditorDeclaration(
    name="ft-l",
    order=20,
    title="FT-L",
    source="Zhu et al. 2020 (arXiv 2012.00363) as in kmeng01/memit baselines/ft, norm-constrained",
    form="dense",
    writes="1 down-projection, bias included",
    whole_matrices=True,
    targets="averaged",
    experts="refused",
    draws=NOTHING,
    violates=TRAINS,
    hyperparameters=f"{__name__}.hyperparameters:FtLHyperparameters",
    factory=f"{__name__}.editor:FtL",
)
