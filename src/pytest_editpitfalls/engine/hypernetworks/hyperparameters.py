"""What the hyper-parameters of editors with a trained network have in common. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pytest_editpitfalls.engine.hyperparameters.fields import Count, Hyperparameters


class NetworkHyperparameters(Hyperparameters):
    """Where the trained network is, and which blocks it is asked for; it has to agree."""

    path_fields: ClassVar[tuple[str, ...]] = ("weights",)

    layers: tuple[int, ...]
    """the edited blocks"""
    weights: Path | None = None
    """the trained network, a safetensors file that the editor's training has written"""


class TrainingHyperparameters(Hyperparameters):
    """What the training loop reads (`engine.hypernetworks.loop`); an editor's own training has more."""

    layers: tuple[int, ...]
    """the edited blocks"""
    rank: Count
    """rank of the network's layers"""
    max_iters: Count
    """edits to train on at most"""
    max_facts: Count | None = None
    """facts to train on at most, drawn by seed; all without it (ours, not published)"""
    val_interval: Count
    """edits between validations"""
    val_steps: Count
    """edits in one validation"""
    early_stop_patience: Count
    """edits without a better validation after which training stops"""
    early_stop_key: Literal["loss/total_edit_val", "edit/acc_val"] = "loss/total_edit_val"
    """what a better validation is: a lower total loss, or more edits that succeed"""
    seed: int = 0
    """seed of initialisation and order"""
