"""NAS's hyper-parameters. Torch-free."""

from __future__ import annotations

from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import NullSpaceHyperparameters


class NasHyperparameters(NullSpaceHyperparameters):
    """NAS (SasyaTitech/NAS, hparams/NAS): AlphaEdit with value vectors of the usual norm."""

    nas: bool = True
    """whether value vectors get the norm that they usually have in the unedited model"""
