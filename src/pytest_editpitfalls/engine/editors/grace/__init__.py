"""GRACE: a codebook of outputs for one module, used near its keys. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration

DECLARATION = EditorDeclaration(
    name="grace",
    order=120,
    title="GRACE",
    source="Hartvigsen et al. 2023 (arXiv 2211.11031); Thartvigsen/GRACE",
    form="hook",
    writes="nothing; replaces the output of 1 module near a key",
    keeps="the codebook: keys, values, radii, labels",
    targets="one after another",
    experts="the whole MLP",
    draws="the values that its keys start with",
    violates={"idempotent": "the second edit finds its key in the codebook and trains its value further"},
    hyperparameters=f"{__name__}.hyperparameters:GraceHyperparameters",
    factory=f"{__name__}.editor:Grace",
)
