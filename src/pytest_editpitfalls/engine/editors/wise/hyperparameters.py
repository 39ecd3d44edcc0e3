"""WISE's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ValidationInfo, field_validator

from pytest_editpitfalls.engine.hyperparameters.fields import Count, NotNegative, Positive, Share, at_depth
from pytest_editpitfalls.engine.hyperparameters.module_names import OneModule

WISE_DEPTH = 0.84
"""Where WISE sits in a model without a preset. Published: Llama-2-7B and Mistral-7B 27 of 32 (0.84), Llama-3-8B
29 of 32 (0.91), Qwen2.5-7B 23 of 28 (0.82), GPT-J 21 of 28 (0.75)."""


class WiseHyperparameters(OneModule):
    """WISE (zjunlp/EasyEdit, hparams/WISE)."""

    edit_lr: Positive = 1.0
    """SGD's learning rate"""
    n_iter: Count = 70
    """steps of an edit at most"""
    norm_constraint: Positive = 1.0
    """how far an entry of the side copy may move from the original"""
    mask_ratio: Share = 0.2
    """share of the side copy's entries that one shard of edits may change"""
    act_margin: tuple[NotNegative, NotNegative, NotNegative] = (5.0, 20.0, 10.0)
    """the margins a, b, g of the routing loss"""
    act_ratio: Positive = 0.88
    """the side copy is used above this share of the least activation difference seen while editing"""
    save_freq: Count = 500
    """edits after which a new mask is drawn"""
    merge_freq: Count = 1000
    """edits after which the side copies are merged; a multiple of save_freq"""
    merge_alg: Literal["ties"] = "ties"
    """how they are merged; only TIES"""
    densities: Share = 0.53
    """share of entries that TIES keeps of each side copy"""
    weights: Positive = 1.0
    """weight of each side copy in the merge"""
    objective_optimization: Literal["only_label"] = "only_label"
    """the loss: only the target's tokens"""
    retrieve: Literal[True] = True
    """accepted, only true: rows are routed to one of several memories"""
    replay: Literal[False] = False
    """accepted, only false: earlier edits are not trained again"""
    context_template_length_params: tuple[tuple[Count, Count], ...] = ((5, 5), (10, 5))
    """pairs (length in tokens, number) of sampled templates; the bare prompt is always added"""

    @field_validator("merge_freq")
    @classmethod
    def _multiple(cls, value: int, info: ValidationInfo) -> int:
        save = info.data.get("save_freq")
        if save and value % save:
            raise ValueError(f"it has to be a multiple of save_freq, which is {save}")
        return value

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """Llama-2-7B's values (zjunlp/EasyEdit, hparams/WISE/llama-7b.yaml) at `WISE_DEPTH`, on the bare prompt alone.

        Measured on 4 coverage cases of the embedded model: the 10 sampled templates make an edit 7 times as slow and
        change other subjects' facts three times as much (0.65 against 0.22 of their probability), because their tokens
        count in the routing; rewrite prompts succeed alike, paraphrases more often (0.58 against 0.42).
        """
        return {
            "layers": [at_depth(WISE_DEPTH, n_layers)],
            "context_template_length_params": [],
            "source": f"no preset for this model: Llama-2-7B's values at {WISE_DEPTH} of the depth, bare prompt only",
        }
