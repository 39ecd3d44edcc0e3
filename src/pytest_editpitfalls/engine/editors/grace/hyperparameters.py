"""GRACE's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Any, Literal

from pytest_editpitfalls.engine.hyperparameters.fields import Count, Positive, at_depth
from pytest_editpitfalls.engine.hyperparameters.module_names import OneModule

GRACE_DEPTH = 0.75
"""Where GRACE sits in a model without a preset, as a share of its depth. Published: GPT2-XL 35 of 48 (0.73), GPT-J
25 of 28 (0.89), Llama-2-7B 27 of 32 (0.84), Qwen2-7B 18 of 28 (0.64)."""


class GraceHyperparameters(OneModule):
    """GRACE (Thartvigsen/GRACE, grace/config/editor/grace.yaml; zjunlp/EasyEdit, hparams/GRACE)."""

    edit_lr: Positive = 1.0
    """Adam's learning rate for a value"""
    n_iter: Count = 100
    """steps for a value"""
    eps: Positive = 1.0
    """radius that a new key starts with"""
    dist_fn: Literal["euc"] = "euc"
    """distance between keys; only the Euclidean one"""
    val_init: Literal["cold"] = "cold"
    """what a value starts from; only cold: uniform between 0 and 1"""
    val_train: Literal["sgd"] = "sgd"
    """how a value is trained; only sgd, which is Adam in the released code"""
    eps_expand: Literal["coverage"] = "coverage"
    """how radii grow; only coverage: just far enough to reach the new key"""
    replacement: Literal["replace_last", "replace_prompt"] = "replace_last"
    """whose output is replaced: the last prompt token's (EasyEdit), or every token's before it (the authors)"""
    reg: Literal["early_stop"] = "early_stop"
    """only early_stop: a value is trained no further once its loss is under 0.01"""
    num_pert: Count = 8
    """accepted, not used: values are not perturbed here"""
    dropout: Literal[0] = 0
    """accepted, only 0: nothing is dropped"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """The published values at `GRACE_DEPTH`; GPT2-XL's number of steps."""
        return {
            "layers": [at_depth(GRACE_DEPTH, n_layers)],
            "source": f"no preset for this model: the published values at {GRACE_DEPTH} of the depth",
        }
