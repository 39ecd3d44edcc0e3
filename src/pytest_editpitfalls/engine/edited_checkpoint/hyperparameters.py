"""The hyper-parameters of an edited checkpoint."""

from __future__ import annotations

from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters


class NoHyperparameters(Hyperparameters):
    """An edited checkpoint has none: what made it is not known."""
