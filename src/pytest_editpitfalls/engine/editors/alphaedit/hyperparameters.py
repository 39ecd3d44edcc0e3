"""AlphaEdit's hyper-parameters. Torch-free."""

from __future__ import annotations

from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import NullSpaceHyperparameters


class AlphaEditHyperparameters(NullSpaceHyperparameters):
    """AlphaEdit (jianghoucheng/AlphaEdit, hparams/AlphaEdit): MEMIT in the null space of the second moment."""
