"""FT's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import field_validator

from pytest_editpitfalls.engine.fine_tuning.hyperparameters import FineTuningHyperparameters
from pytest_editpitfalls.engine.hyperparameters.fields import FALSE_IS_NONE


class FtHyperparameters(FineTuningHyperparameters):
    """FT: all target tokens scored at the last prompt position, no constraint."""

    objective: Literal["prompt_last"] = "prompt_last"
    """the loss: all target tokens at the last position of the prompt"""
    norm_constraint: Annotated[None, FALSE_IS_NONE] = None
    """only `false`; `ft-l` is the editor with a constraint"""

    @field_validator("norm_constraint", mode="before")
    @classmethod
    def _unconstrained(cls, value: object) -> object:
        if value is not None and value is not False:
            raise ValueError("FT has no constraint, only false is accepted; use the editor ft-l")
        return value
