"""Hyper-parameters of fine-tuning: what FT, FT-L and FT-M share. Torch-free.

FT edits late in GPT-J (21 of 28), Llama-2-7B and Llama-3-8B (21 of 32) and Qwen2-7B (27 of 28), and at layer 1 of 48
in GPT2-XL; the constrained presets of GPT-2 and GPT-J edit layer 0 (kmeng01/memit and zjunlp/EasyEdit, hparams/FT).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from pytest_editpitfalls.engine.hyperparameters.fields import Count, NotNegative, Positive, at_depth
from pytest_editpitfalls.engine.hyperparameters.module_names import ReleasedModuleNames

Objective = Literal["prompt_last", "target_new"]
"""Where the target's tokens are scored: all at the prompt's last position, or each after those before it."""

FT_DEPTH = 0.75
"""Where FT and FT-M edit a model without a preset, as a share of its depth: GPT-J's block 21 of 28."""

_INTEGER = (
    "write a number with a decimal point, such as 5e-4 or 1.0: "
    "the released code silently switches the constraint off for an integer, so none is accepted"
)


def _float_above_zero(value: object) -> object:
    if isinstance(value, int):  # true and false are integers, too
        raise ValueError(_INTEGER)
    if isinstance(value, str) and value.strip().lstrip("+-").isdigit():
        raise ValueError(_INTEGER)
    return value


NormConstraint = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_float_above_zero)]
"""A finite number above 0, written as one: an integer is refused."""


class FineTuningHyperparameters(ReleasedModuleNames):
    """What FT, FT-L and FT-M share: Adam on one down-projection (kmeng01/memit, hparams/FT)."""

    if TYPE_CHECKING:  # each of them declares these two fields with what it accepts
        objective: Objective
        norm_constraint: float | None

    released_names: ClassVar[Mapping[str, str]] = {"objective_optimization": "objective"}

    layers: tuple[int, ...] = Field(min_length=1)
    """the blocks whose down-projection is trained; one in every published file"""
    num_steps: Count = 25
    """epochs at most; it stops earlier below a mean loss of 0.01"""
    lr: Positive = 5e-4
    """Adam's learning rate"""
    weight_decay: NotNegative = 0.0
    """Adam's weight decay"""
    kl_factor: NotNegative = 0.0
    """only 0, as in every published file"""
    batch_size: Count = 1
    """accepted, not used: a step holds the requests that are written together"""

    @field_validator("kl_factor")
    @classmethod
    def _no_kl(cls, value: float) -> float:
        if value != 0:
            raise ValueError("only 0 is supported: no published file uses another")
        return value

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """GPT-J's values (kmeng01/memit, hparams/FT/EleutherAI_gpt-j-6B_unconstr.json) at `FT_DEPTH`."""
        return {
            "layers": [at_depth(FT_DEPTH, n_layers)],
            "source": f"no preset for this model: GPT-J's values at {FT_DEPTH} of the depth",
        }
