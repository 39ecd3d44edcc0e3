"""SPHERE: AlphaEdit that spares the principal directions of the edited matrix's rows. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import LOCATES

DECLARATION = EditorDeclaration(
    name="sphere",
    order=103,
    title="SPHERE",
    source="Liu et al. 2026 (arXiv 2510.01172); zjunlp/EasyEdit SPHERE",
    form="low-rank",
    writes="5 or 6 down-projections (its layers)",
    keeps="keys of its earlier edits, by layer",
    after_norm="refused",
    second_moment=True,
    experts="refused",
    draws="context templates, text for the second moment",
    violates=LOCATES,
    hyperparameters=f"{__name__}.hyperparameters:SphereHyperparameters",
    factory=f"{__name__}.editor:Sphere",
)
