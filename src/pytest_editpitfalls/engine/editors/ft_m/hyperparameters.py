"""FT-M's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pytest_editpitfalls.engine.fine_tuning.hyperparameters import FineTuningHyperparameters, NormConstraint
from pytest_editpitfalls.engine.hyperparameters.fields import FALSE_IS_NONE


class FtMHyperparameters(FineTuningHyperparameters):
    """FT-M: cross-entropy of the target tokens, each given the prompt and the target tokens before it."""

    objective: Literal["target_new"] = "target_new"
    """the loss: each target token given prompt and preceding target"""
    norm_constraint: Annotated[NormConstraint | None, FALSE_IS_NONE] = None
    """how far an entry may move (a float), or `false`"""
