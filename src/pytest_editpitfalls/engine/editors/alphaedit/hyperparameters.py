"""AlphaEdit's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Any

from pytest_editpitfalls.engine.hyperparameters.fields import Positive
from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import (
    LAST_LAYER_FRACTION,
    SMALL_MODEL_CLAMP,
    LayerByLayerHyperparameters,
)


class AlphaEditHyperparameters(LayerByLayerHyperparameters):
    """AlphaEdit (jianghoucheng/AlphaEdit, hparams/AlphaEdit): MEMIT in the null space of the second moment."""

    nullspace_threshold: Positive = 0.02
    """directions of the second moment with an eigenvalue below this may be changed"""
    L2: Positive = 10.0
    """weight of the update's own norm"""
    mom2_update_weight: Positive = 15000.0
    """accepted, not used: the null space takes the place of lambda times the second moment"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """As for MEMIT, with the published threshold and EasyEdit's L2 for Llama-3 and Qwen2.5, which damps less."""
        values = super().scaled(n_layers)
        del values["mom2_update_weight"]
        return values | {
            "nullspace_threshold": 0.02,
            "L2": 1.0,
            "source": (
                f"no preset for this model: layers up to {LAST_LAYER_FRACTION} of the depth, GPT2-XL's optimisation, "
                f"clamp {SMALL_MODEL_CLAMP:g} as for MEMIT, L2 as in EasyEdit's Llama-3 and Qwen2.5 files"
            ),
        }
