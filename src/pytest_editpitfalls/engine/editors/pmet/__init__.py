"""PMET: target vectors for attention and MLP, of which only the MLP's is written. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import LOCATES

DECLARATION = EditorDeclaration(
    name="pmet",
    order=90,
    title="PMET",
    source="Li et al. 2024 (arXiv 2308.08742); xpq-tech/PMET",
    form="low-rank",
    writes="5 or 6 down-projections (its layers)",
    after_norm="replayed",
    second_moment=True,
    experts="refused",
    draws="context templates, text for the second moment",
    violates=LOCATES,
    hyperparameters=f"{__name__}.hyperparameters:PmetHyperparameters",
    factory=f"{__name__}.editor:Pmet",
)
