"""LyapLock's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Any

from pytest_editpitfalls.engine.hyperparameters.fields import Positive
from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import LayerByLayerHyperparameters

PUBLISHED_SHARE = 1000 / 15000
"""LyapLock's published update weight beside MEMIT's."""


class LyapLockHyperparameters(LayerByLayerHyperparameters):
    """LyapLock (wpwpwpyo/LyapLock, hparams/LyapLock): MEMIT under a bound on what it changes in the long run."""

    alpha: Positive = 60.0
    """the bound: so many times what the first edit changes"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """As for MEMIT; the update weight is as small beside MEMIT's as in the published files."""
        values = super().scaled(n_layers)
        weight = round(values["mom2_update_weight"] * PUBLISHED_SHARE)
        return values | {
            "mom2_update_weight": weight,
            "source": f"{values['source']}; LyapLock's is {weight}, as small beside MEMIT's as in its published files",
        }
