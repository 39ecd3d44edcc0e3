"""LoRA's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pytest_editpitfalls.engine.hyperparameters.fields import (
    FALSE_IS_NONE,
    Count,
    Hyperparameters,
    Names,
    NotNegative,
    Positive,
)

LORA_STEPS = 50
"""LoRA's steps without a preset: GPT-J's; the others take 30 to 70."""


class LoraHyperparameters(Hyperparameters):
    """LoRA: W + (lora_alpha / rank) B A on the target modules of all blocks (zjunlp/EasyEdit, hparams/LoRA).

    Most published files say ``adalora``, but EasyEdit never calls AdaLoRA's rank allocator, so that the rank stays
    what it was: both names mean plain LoRA here.
    """

    layers: tuple[int, ...] = ()
    """blocks with an adapter; none named means all"""
    lora_type: Literal["lora", "adalora"] = "lora"
    """both mean LoRA: the released code never calls AdaLoRA's rank allocator"""
    rank: Count = 8
    """rank of each adapter"""
    lora_alpha: Positive = 32.0
    """the adapter is multiplied by lora_alpha / rank"""
    lora_dropout: Annotated[NotNegative, Field(lt=1)] = 0.1
    """dropout before A, while training"""
    target_modules: Names = ()
    """last part of the adapted modules' names; none means attention output and, without experts, down-projection"""
    num_steps: Count = LORA_STEPS
    """steps of Adam; there is no early stop"""
    lr: Positive = 5e-3
    """learning rate"""
    weight_decay: NotNegative = 0.0
    """weight decay"""
    batch_size: Count = 1
    """accepted, not used: a step holds the requests that are written together"""
    kl_factor: Literal[0] = 0
    """only 0, as in every published file"""
    norm_constraint: Annotated[None, FALSE_IS_NONE] = None
    """only `false`, as in every published file"""

    @field_validator("target_modules")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not name.strip() for name in value):
            raise ValueError("a module's name is empty")
        return value

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """Rank, alpha, dropout and learning rate of every published file, GPT-J's number of steps."""
        del n_layers
        return {"source": "no preset for this model: the published values, on attention output and down-projection"}
