"""PMET's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Any

from pytest_editpitfalls.engine.hyperparameters.fields import Names, Positive
from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import (
    LAST_LAYER_FRACTION,
    SMALL_MODEL_CLAMP,
    SMALL_MODEL_UPDATE_WEIGHT,
    PreservingHyperparameters,
)


class PmetHyperparameters(PreservingHyperparameters):
    """PMET (xpq-tech/PMET, edit/hparams/PMET): vectors for attention and MLP; only the MLP's weight is written."""

    nll_loss_factor: Positive = 1.0
    """weight of the target's log probability"""
    rewrite_module_tmps: Names = ()
    """released name of the edited matrix; refused where it is not the family's down-projection"""
    rewrite_module_tmp: str | None = None
    """accepted, not used: one released file names a matrix there that it does not write"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """Llama-2-7B's optimisation (EasyEdit, hparams/PMET/llama-7b.yaml) on MEMIT's layers for small models."""
        return super().scaled(n_layers) | {
            "nll_loss_factor": 1.0,
            "source": (
                f"no preset for this model: layers up to {LAST_LAYER_FRACTION} of the depth, Llama-2-7B's "
                f"optimisation, clamp {SMALL_MODEL_CLAMP:g} and update weight {SMALL_MODEL_UPDATE_WEIGHT} as for MEMIT"
            ),
        }
