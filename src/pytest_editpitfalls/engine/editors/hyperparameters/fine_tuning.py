"""Hyper-parameters of fine-tuning: FT, FT-L, FT-M, LoRA. Torch-free.

FT edits late in GPT-J (21 of 28), Llama-2-7B and Llama-3-8B (21 of 32) and Qwen2-7B (27 of 28), and at layer 1 of 48
in GPT2-XL; the constrained presets of GPT-2 and GPT-J edit layer 0 (kmeng01/memit and zjunlp/EasyEdit, hparams/FT).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from .base import Count, Hyperparameters, Names, NotNegative, Positive, at_depth
from .module_names import ReleasedModuleNames

FT_DEPTH = 0.75
"""Where FT and FT-M edit a model without a preset, as a share of its depth: GPT-J's block 21 of 28."""

FT_L_NORM_CONSTRAINT = 7e-3
"""FT-L's epsilon without a preset. It gets smaller as models grow (GPT2-medium 2e-3, GPT2-large 1e-3, GPT2-XL 5e-4,
GPT-J 5e-5); on the embedded model 5e-3 wrote five of eight facts, 7e-3 all, and 1e-2 hardly binds."""

LORA_STEPS = 50
"""LoRA's steps without a preset: GPT-J's; the others take 30 to 70."""

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


def _false_is_none(value: object) -> object:
    return None if value is False else value


NormConstraint = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_float_above_zero)]
"""A finite number above 0, written as one: an integer is refused."""


class FineTuningHyperparameters(ReleasedModuleNames):
    """What FT, FT-L and FT-M share: Adam on one down-projection (kmeng01/memit, hparams/FT)."""

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


class FtHyperparameters(FineTuningHyperparameters):
    """FT: all target tokens scored at the last prompt position, no constraint."""

    objective: Literal["prompt_last"] = "prompt_last"
    """the loss: all target tokens at the last position of the prompt"""
    norm_constraint: Annotated[None, BeforeValidator(_false_is_none)] = None
    """only `false`; `ft-l` is the editor with a constraint"""

    @field_validator("norm_constraint", mode="before")
    @classmethod
    def _unconstrained(cls, value: object) -> object:
        if value is not None and value is not False:
            raise ValueError("FT has no constraint, only false is accepted; use the editor ft-l")
        return value

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """GPT-J's values (kmeng01/memit, hparams/FT/EleutherAI_gpt-j-6B_unconstr.json) at `FT_DEPTH`."""
        return {
            "layers": [at_depth(FT_DEPTH, n_layers)],
            "source": f"no preset for this model: GPT-J's values at {FT_DEPTH} of the depth",
        }


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


class FtMHyperparameters(FineTuningHyperparameters):
    """FT-M: cross-entropy of the target tokens, each given the prompt and the target tokens before it."""

    objective: Literal["target_new"] = "target_new"
    """the loss: each target token given prompt and preceding target"""
    norm_constraint: Annotated[NormConstraint | None, BeforeValidator(_false_is_none)] = None
    """how far an entry may move (a float), or `false`"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """GPT-J's values (zjunlp/EasyEdit, hparams/FT/gpt-j-6B.yaml) at `FT_DEPTH`."""
        return {
            "layers": [at_depth(FT_DEPTH, n_layers)],
            "source": f"no preset for this model: GPT-J's values at {FT_DEPTH} of the depth",
        }


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
    """last part of the names of the modules with an adapter; none means attention output and down-projection"""
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
    norm_constraint: Annotated[None, BeforeValidator(_false_is_none)] = None
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
        return {
            "source": "no preset for this model: the published values, on attention output and down-projection"
        }
