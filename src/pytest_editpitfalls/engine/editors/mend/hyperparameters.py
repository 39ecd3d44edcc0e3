"""Hyper-parameters of MEND: what the edit needs, and what training the network needs. Torch-free."""

from __future__ import annotations

from typing import Any, Literal

from pytest_editpitfalls.engine.hypernetworks.hyperparameters import NetworkHyperparameters, TrainingHyperparameters
from pytest_editpitfalls.engine.hyperparameters.fields import Count, NotNegative, Positive
from pytest_editpitfalls.engine.hyperparameters.module_names import InnerParams

LAST_BLOCKS = 3
"""MEND edits the last three blocks of every model with a published file."""


def last_blocks(n_layers: int) -> list[int]:
    """The last `LAST_BLOCKS` blocks, or all of a model that has fewer."""
    return list(range(max(n_layers - LAST_BLOCKS, 0), n_layers))


class MendHyperparameters(InnerParams, NetworkHyperparameters):
    """What a MEND edit needs. The trained network knows its blocks and matrices; ``layers`` has to agree with it."""

    lr_scale: Positive = 1.0
    """the update is multiplied by it (kmeng01/memit, hparams/MEND)"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """The last three blocks, as in every published file."""
        return {"layers": last_blocks(n_layers), "source": "no preset for this model: the last three blocks"}


class MendTraining(InnerParams, TrainingHyperparameters):
    """What training MEND's network needs.

    The defaults are published: eric-mitchell/mend, config/config.yaml and config/alg/mend.yaml. What describes the
    form of the network (``n_hidden`` to ``shared``) is accepted with the published value only.
    """

    rank: Count = 1920
    """rank of the network's two layers; it may be lowered for a small model"""
    n_hidden: Literal[1] = 1
    """hidden layers of the network; only 1"""
    init: Literal["id"] = "id"
    """what the network starts as; only the identity"""
    mlp_class: Literal["IDMLP"] = "IDMLP"
    """kind of layer; only the residual one"""
    act: Literal["relu"] = "relu"
    """activation; only relu"""
    norm: Literal[True] = True
    """inputs are standardised; only true"""
    combine: Literal[True] = True
    """layer input and gradient go through the network together; only true"""
    one_sided: Literal[False] = False
    """only false: both are transformed"""
    x_only: Literal[False] = False
    """only false"""
    delta_only: Literal[False] = False
    """only false"""
    shared: Literal[True] = True
    """matrices of equal shape share a network; only true"""
    lr: Positive = 1e-6
    """learning rate of the network"""
    lr_lr: Positive = 1e-4
    """learning rate of the edit's own step sizes"""
    edit_lr: Positive = 1e-4
    """what the edit's step sizes start from"""
    cedit: Positive = 0.1
    """weight of the edit loss"""
    cloc: NotNegative = 1.0
    """weight of the locality loss (KL on unrelated text)"""
    accumulate_bs: Count = 10
    """edits whose gradients are summed for one step"""
    batch_size: Count = 2
    """accepted, not used: an edit has one fact and one text for the locality loss"""
    val_batch_size: Count = 5
    """edits that are validated together"""
    grad_clip: Positive = 100.0
    """gradients are scaled down to this norm"""
    max_iters: Count = 1_000_000
    """edits to train on at most"""
    val_interval: Count = 5000
    """edits between validations"""
    val_steps: Count = 500
    """edits in one validation"""
    early_stop_patience: Count = 20_000
    """edits without a better validation after which training stops"""
    dropout: Literal[0] = 0
    """dropout inside the base model while training; only 0"""
    opt: Literal["Adam"] = "Adam"
    """the optimiser; only Adam"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """The last three blocks; everything else has its published default."""
        return {"layers": last_blocks(n_layers), "source": "eric-mitchell/mend: config/alg/mend.yaml"}
