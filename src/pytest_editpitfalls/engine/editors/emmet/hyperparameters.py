"""EMMET's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Any, Literal

from pytest_editpitfalls.engine.hyperparameters.fields import NotNegative, OneLayer, at_depth
from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import (
    DEPTH_FRACTION,
    SMALL_MODEL_CLAMP,
    LayerByLayerHyperparameters,
)


class EmmetHyperparameters(LayerByLayerHyperparameters):
    """EMMET (scalable-model-editing/unified-model-editing, hparams/EMMET): MEMIT's target vector at one layer."""

    layers: OneLayer
    """the one block whose down-projection is edited"""
    emmet_lambda: NotNegative = 0.1
    """gamma: added to the diagonal of the system of the new keys"""
    update_norm_lambda: Literal[0] = 0
    """only 0, as in every published file"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """GPT2-XL's values (hparams/EMMET/gpt2-xl.json) at `DEPTH_FRACTION`, with `SMALL_MODEL_CLAMP`."""
        source = f"GPT2-XL's values at {DEPTH_FRACTION} of the depth, clamp {SMALL_MODEL_CLAMP:g}"
        own = {
            "layers": [at_depth(DEPTH_FRACTION, n_layers)],
            "mom2_update_weight": 1000,
            "emmet_lambda": 0.1,
        }
        return super().scaled(n_layers) | own | {"source": f"no preset for this model: {source}"}
