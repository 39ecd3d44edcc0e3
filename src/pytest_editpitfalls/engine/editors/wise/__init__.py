"""WISE: a side copy of one matrix that only edited facts are routed to. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import TRAINS

DECLARATION = EditorDeclaration(
    name="wise",
    order=130,
    title="WISE",
    source="Wang et al. 2024 (arXiv 2405.14768); zjunlp/EasyEdit WISE",
    form="hook",
    writes="a side copy of 1 down-projection, used where its activation says so",
    keeps="side memory, mask and thresholds",
    whole_matrices=True,
    targets="averaged",
    needs="irrelevant prompts (they ship)",
    experts="a named module",
    draws="context templates, irrelevant prompts, the mask",
    violates=TRAINS,
    hyperparameters=f"{__name__}.hyperparameters:WiseHyperparameters",
    factory=f"{__name__}.editor:Wise",
)
