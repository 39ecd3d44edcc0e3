"""IKE: demonstrations from other cases, then the new fact. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import NOTHING, EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import PREFIXES

DECLARATION = EditorDeclaration(
    name="ike",
    order=140,
    title="IKE",
    source="Zheng et al. 2023 (arXiv 2305.12740); zjunlp/EasyEdit IKE",
    form="prefix",
    writes="nothing; demonstrations and the new fact before the prompt",
    keeps="the list of facts, newest last",
    suite=True,
    needs="other cases of the suite, for demonstrations",
    draws=NOTHING,
    violates=PREFIXES,
    hyperparameters=f"{__name__}.hyperparameters:IkeHyperparameters",
    factory=f"{__name__}.editor:Ike",
)
