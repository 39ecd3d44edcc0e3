"""LyapLock: edits weighed against what they must not change by a queue that grows with the damage. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import LOCATES

DECLARATION = EditorDeclaration(
    name="lyaplock",
    order=104,
    title="LyapLock",
    source="Wang et al. 2025 (arXiv 2505.15702); wpwpwpyo/LyapLock",
    form="low-rank",
    writes="5 or 6 down-projections (its layers)",
    keeps="its queue, and keys and values of its earlier edits, by layer",
    after_norm="refused",
    second_moment=True,
    experts="refused",
    draws="context templates, text for the second moment",
    violates=LOCATES,
    hyperparameters=f"{__name__}.hyperparameters:LyapLockHyperparameters",
    factory=f"{__name__}.editor:LyapLock",
)
