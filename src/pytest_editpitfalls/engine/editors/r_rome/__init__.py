"""r-ROME: ROME with one and the same key everywhere. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import LOCATES

DECLARATION = EditorDeclaration(
    name="r-rome",
    order=60,
    title="r-ROME",
    source="Gupta et al. 2024 (arXiv 2403.07175); scalable-model-editing/rebuilding-rome",
    form="low-rank",
    writes="1 down-projection",
    targets="one after another",
    after_norm="replayed",
    second_moment=True,
    experts="refused",
    draws="context templates, text for the second moment",
    violates=LOCATES,
    hyperparameters=f"{__name__}.hyperparameters:RRomeHyperparameters",
    factory=f"{__name__}.editor:RRome",
)
