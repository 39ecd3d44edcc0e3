"""LoRA: low-rank adapters trained on the edit. Torch-free."""

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editing.violations import TRAINS

DECLARATION = EditorDeclaration(
    name="lora",
    order=40,
    title="LoRA",
    source="Hu et al. 2021 (arXiv 2106.09685) as in zjunlp/EasyEdit LoRA",
    form="low-rank",
    writes="target_modules of all blocks",
    keeps="the adapter, which the next edit goes on training",
    targets="averaged",
    experts="attention only",
    draws="the adapter that it starts with, dropout",
    violates=TRAINS,
    hyperparameters=f"{__name__}.hyperparameters:LoraHyperparameters",
    factory=f"{__name__}.editor:Lora",
)
