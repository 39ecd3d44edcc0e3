"""NAS: AlphaEdit whose value vectors get the norm that is usual in the unedited model. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import LOCATES

DECLARATION = EditorDeclaration(
    name="nas",
    order=102,
    title="NAS",
    source="Norm Anchors Make Model Edits Last, 2026 (arXiv 2602.02543); SasyaTitech/NAS",
    form="low-rank",
    writes="5 or 6 down-projections (its layers)",
    keeps="keys of its earlier edits, by layer",
    after_norm="refused",
    second_moment=True,
    experts="refused",
    draws="context templates, text for the second moment",
    violates=LOCATES,
    hyperparameters=f"{__name__}.hyperparameters:NasHyperparameters",
    factory=f"{__name__}.editor:Nas",
)
