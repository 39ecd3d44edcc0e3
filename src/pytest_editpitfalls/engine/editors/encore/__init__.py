"""ENCORE: MEMIT that stops early, bounds its norm and preserves earlier edits. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import LOCATES

DECLARATION = EditorDeclaration(
    name="encore",
    order=101,
    title="ENCORE",
    source="Gupta et al. 2025 (arXiv 2502.01636); scalable-model-editing/encore",
    form="low-rank",
    writes="5 or 6 down-projections (its layers)",
    keeps="keys of its earlier edits, by layer",
    after_norm="refused",
    second_moment=True,
    experts="refused",
    draws="context templates, text for the second moment",
    violates=LOCATES,
    hyperparameters=f"{__name__}.hyperparameters:EncoreHyperparameters",
    factory=f"{__name__}.editor:Encore",
)
