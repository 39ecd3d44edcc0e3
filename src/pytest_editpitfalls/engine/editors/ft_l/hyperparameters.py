"""FT-L's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Any, Literal

from pytest_editpitfalls.engine.fine_tuning.hyperparameters import FT_DEPTH, FineTuningHyperparameters, NormConstraint
from pytest_editpitfalls.engine.hyperparameters.fields import at_depth

FT_L_NORM_CONSTRAINT = 7e-3
"""FT-L's epsilon without a preset. It gets smaller as models grow (GPT2-medium 2e-3, GPT2-large 1e-3, GPT2-XL 5e-4,
GPT-J 5e-5); on the embedded model 5e-3 wrote five of eight facts, 7e-3 all, and 1e-2 hardly binds."""


class FtLHyperparameters(FineTuningHyperparameters):
    """FT-L: FT whose entries stay within ``norm_constraint`` of their value at the start of the edit."""

    objective: Literal["prompt_last"] = "prompt_last"
    """the loss: all target tokens at the last position of the prompt"""
    norm_constraint: NormConstraint
    """how far an entry may move; a float, an integer is refused"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """FT's values and `FT_L_NORM_CONSTRAINT`; published files take block 0, no better here."""
        return {
            "layers": [at_depth(FT_DEPTH, n_layers)],
            "norm_constraint": FT_L_NORM_CONSTRAINT,
            "source": f"no preset for this model: GPT-J's FT values at {FT_DEPTH} of the depth, our norm_constraint",
        }
