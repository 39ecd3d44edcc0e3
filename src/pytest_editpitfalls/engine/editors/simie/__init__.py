"""SimIE: another editor's updates, recast so that a chain of them stays near what all edits at once would give."""

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import LOCATES

DECLARATION = EditorDeclaration(
    name="simie",
    order=105,
    title="SimIE",
    source="Guo et al. 2025 (ICML, Towards Lifelong Model Editing via Simulating Ideal Editor); YamingGuo98/SimIE",
    form="low-rank",
    writes="what the editor writes that it is put on (MEMIT: 5 or 6 down-projections)",
    keeps="inputs of the edited matrices on all its edits' tokens",
    after_norm="refused",
    second_moment=True,
    experts="refused",
    draws="what the editor draws that it is put on (MEMIT: context templates, text for the second moment)",
    violates=LOCATES,
    hyperparameters=f"{__name__}.hyperparameters:SimieHyperparameters",
    factory=f"{__name__}.editor:Simie",
)
