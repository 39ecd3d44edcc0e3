"""ICE: the new fact before the prompt. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import NOTHING, EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import PREFIXES

DECLARATION = EditorDeclaration(
    name="ice",
    order=150,
    title="ICE",
    source="Cohen et al. 2023 (arXiv 2307.12976): the new fact before the prompt, no demonstrations",
    form="prefix",
    writes="nothing; the new fact before the prompt",
    keeps="the list of facts, newest last",
    draws=NOTHING,
    violates=PREFIXES,
    hyperparameters=f"{__name__}.hyperparameters:IceHyperparameters",
    factory=f"{__name__}.editor:Ice",
)
