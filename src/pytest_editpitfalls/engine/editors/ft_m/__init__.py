"""FT-M: fine-tuning of one matrix on the target's tokens, each given those before it. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import NOTHING, EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import TRAINS

DECLARATION = EditorDeclaration(
    name="ft-m",
    order=30,
    title="FT-M",
    source="zjunlp/EasyEdit FT, objective target_new: masked cross-entropy on the target",
    form="dense",
    writes="1 down-projection, bias included",
    whole_matrices=True,
    targets="averaged",
    experts="refused",
    draws=NOTHING,
    violates={name: TRAINS[name] for name in ("present_object", "idempotent")},
    hyperparameters=f"{__name__}.hyperparameters:FtMHyperparameters",
    factory=f"{__name__}.editor:FtM",
)
