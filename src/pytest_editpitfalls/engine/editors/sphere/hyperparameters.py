"""SPHERE's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pytest_editpitfalls.engine.hyperparameters.fields import NotNegative
from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import NullSpaceHyperparameters


class SphereHyperparameters(NullSpaceHyperparameters):
    """SPHERE (zjunlp/EasyEdit, hparams/SPHERE): AlphaEdit whose updates are damped along principal directions."""

    cumulative_ratio: Annotated[NotNegative, Field(lt=1)] = 0.5
    """eta: the share of the eigenvalues' sum that the principal directions hold; 0: no direction is damped"""
    suppression_strength: Annotated[NotNegative, Field(le=1)] = 0.5
    """alpha: the part of the update along them that is taken away"""
