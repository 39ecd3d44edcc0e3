"""EMMET's hyper-parameters. Torch-free."""

from typing import Any

from pytest_editpitfalls.engine.hyperparameters.fields import NotNegative, OneLayer
from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import PreservingHyperparameters, one_layer


class EmmetHyperparameters(PreservingHyperparameters):
    """EMMET (scalable-model-editing/unified-model-editing, hparams/EMMET): MEMIT's target vector at one layer."""

    layers: OneLayer
    """the one block whose down-projection is edited"""
    emmet_lambda: NotNegative = 0.1
    """gamma: added to the diagonal of the system of the new keys"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """GPT2-XL's values (hparams/EMMET/gpt2-xl.json) on `one_layer`, with MEMIT's clamp for small models."""
        own = {"mom2_update_weight": 1000, "emmet_lambda": 0.1}
        values = super().scaled(n_layers) | one_layer(n_layers) | own
        return values | {"source": f"{values['source']}, clamp {values['clamp_norm_factor']:g}"}
