"""Hyper-parameters of RLEdit: what the edit needs, and what training the network needs. Torch-free."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pytest_editpitfalls.engine.hypernetworks.hyperparameters import NetworkHyperparameters, TrainingHyperparameters
from pytest_editpitfalls.engine.hyperparameters.fields import Count, NotNegative, Positive, Share, at_depth
from pytest_editpitfalls.engine.hyperparameters.module_names import NamedMatrices

FIRST_FRACTION, LAST_FRACTION = 0.53, 0.57
"""Where the edited blocks of a model without a preset begin and end, as shares of its depth. Down-projections are
published for Mistral-7B only: blocks 17 and 18 of 32."""

MOST_BLOCKS = 16
"""Residual blocks that a network may have."""


def middle_blocks(n_layers: int) -> dict[str, Any]:
    """Down-projections at the published share of the depth."""
    first, last = at_depth(FIRST_FRACTION, n_layers), at_depth(LAST_FRACTION, n_layers)
    return {
        "layers": list(range(first, last + 1)),
        "source": f"no preset for this model: down-projections at {FIRST_FRACTION} to {LAST_FRACTION} of the depth",
    }


class RleditHyperparameters(NamedMatrices, NetworkHyperparameters):
    """What an RLEdit edit needs. The trained network knows its matrices; they have to agree with those named here."""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """Down-projections of two blocks or so in the middle."""
        return middle_blocks(n_layers)


class RleditTraining(NamedMatrices, TrainingHyperparameters):
    """What training RLEdit's network needs.

    The defaults are published: zhrli324/RLEdit, config/editor/rledit.yaml and config/config.yaml. One step of Adam
    follows a chain of ``num_seq`` steps, each of which writes ``n_edits`` facts.
    """

    rank: Count = 1024
    """rank of the network's blocks; it may be lowered for a small model"""
    n_blocks: Annotated[int, Field(ge=1, le=MOST_BLOCKS, strict=True)] = 4
    """residual blocks of the network"""
    lr: Positive = 1e-6
    """what the edit's step sizes start from; they are learnt"""
    meta_lr: Positive = 1e-5
    """learning rate of everything that is learnt"""
    loc_coef: NotNegative = 0.6
    """weight of the locality loss (KL on unrelated text)"""
    reg_coef: NotNegative = 1e-4
    """weight of the squared norm of a step's update; in the release its gradient does not reach the network"""
    time_decay: Share = 0.95
    """weight of the facts of one step back in the chain; its square for two steps back, and so on"""
    back_depth: Count = 10
    """steps of the chain whose facts a step is judged by, its own included"""
    max_grad_norm: Positive = 1.0
    """gradients are scaled down to this norm after each step of the chain"""
    n_edits: Count = 20
    """facts that are written together"""
    num_seq: Count = 400
    """steps of a chain"""
    token: Literal["ans"] = "ans"
    """tokens that count; only those that predict the answer"""
    batch_size: Count = 128
    """accepted, not used: all tokens of a step go through the network together"""
    loss: Literal["sum", "mean"] = "sum"
    """over a step's target tokens, for the gradients that the network reads; mean is nearer to the release, where steps
    of many tokens then have small gradients"""
    max_iters: Count = 8000
    """edits to train on at most; as published, one chain, which is one step of Adam"""
    val_interval: Count = 8000
    """edits between validations (ours, not published)"""
    val_steps: Count = 400
    """edits of the chain that a validation is (ours, not published)"""
    early_stop_patience: Count = 80_000
    """edits without a better validation after which training stops (ours, not published)"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """The same matrices as for an edit; everything else has its published default."""
        return middle_blocks(n_layers)
