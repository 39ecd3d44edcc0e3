"""AnyEdit: a long target in windows, each with a target vector of its own, written as MEMIT writes. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import LOCATES

DECLARATION = EditorDeclaration(
    name="anyedit",
    order=107,
    title="AnyEdit",
    source="Jiang et al. 2025 (arXiv 2502.05628); jianghoucheng/AnyEdit memit_ARE",
    form="low-rank",
    writes="5 down-projections (its layers)",
    after_norm="refused",
    second_moment=True,
    experts="refused",
    draws="text for the second moment",
    violates=LOCATES,
    hyperparameters=f"{__name__}.hyperparameters:AnyEditHyperparameters",
    factory=f"{__name__}.editor:AnyEdit",
)
