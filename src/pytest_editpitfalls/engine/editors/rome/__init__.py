"""ROME: a rank-one update of one down-projection. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import LOCATES

DECLARATION = EditorDeclaration(
    name="rome",
    order=50,
    title="ROME",
    source="Meng et al. 2022 (arXiv 2202.05262); kmeng01/rome",
    form="low-rank",
    writes="1 down-projection",
    targets="one after another",
    after_norm="replayed",
    second_moment=True,
    experts="refused",
    draws="context templates, text for the second moment",
    violates=LOCATES,
    hyperparameters=f"{__name__}.hyperparameters:RomeHyperparameters",
    factory=f"{__name__}.editor:Rome",
)
