"""MEMIT's hyper-parameters. Torch-free."""

from __future__ import annotations

from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import PreservingHyperparameters


class MemitHyperparameters(PreservingHyperparameters):
    """MEMIT (kmeng01/memit, hparams/MEMIT): several layers, the residual spread over them."""
