"""ROME's hyper-parameters. Torch-free."""

from __future__ import annotations

from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import RankOneHyperparameters


class RomeHyperparameters(RankOneHyperparameters):
    """ROME (kmeng01/rome, hparams/ROME): one layer, 20 sampled templates and the bare prompt."""
