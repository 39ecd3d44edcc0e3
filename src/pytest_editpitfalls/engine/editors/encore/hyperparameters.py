"""ENCORE's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Any, Literal

from pytest_editpitfalls.engine.hyperparameters.fields import Count, NotNegative, NotPositive
from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import PreservingHyperparameters

PUBLISHED = {"prob_cutoff": -2, "update_norm_lambda": 20.0, "mom2_update_weight": 15000.0}
"""Of Llama-3-8B (hparams/ENCORE/llama3-8b.json)."""


class EncoreHyperparameters(PreservingHyperparameters):
    """ENCORE (scalable-model-editing/encore, hparams/ENCORE): MEMIT with an early stop and a bounded norm."""

    prob_cutoff: NotPositive = -2
    """-2 ends the search at the second step in which the target is the likeliest; 0 never does"""
    update_norm_lambda: NotNegative = 20.0
    """lambda_n: weight of the update's own norm"""
    add_prev_edits: bool = True
    """whether the keys of the case's earlier edits are preserved as well"""
    norm_control: Literal[0] = 0
    """only 0, as in every published file"""
    calculate_objective_value: Literal[False] = False
    """only false, as in every published file"""
    random_vector_preservation: Literal[False] = False
    """only false, as in every published file"""
    dynamic_multiplier: Count = 5
    """accepted, not used, as in the release"""
    emmet_lambda: NotNegative = 0.1
    """accepted, not used: EMMET's"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """As for MEMIT; lambda_n is as small beside its update weight as in Llama-3-8B's file."""
        values = super().scaled(n_layers)
        norm = PUBLISHED["update_norm_lambda"] * values["mom2_update_weight"] / PUBLISHED["mom2_update_weight"]
        own = {"prob_cutoff": PUBLISHED["prob_cutoff"], "update_norm_lambda": round(norm, 1), "add_prev_edits": True}
        return values | own | {"source": f"{values['source']}; Llama-3-8B's stop and share of lambda_n"}
