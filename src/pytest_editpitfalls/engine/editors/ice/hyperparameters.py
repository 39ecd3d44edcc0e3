"""ICE's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Any

from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters


class IceHyperparameters(Hyperparameters):
    """ICE: the new fact before the prompt; nothing to choose."""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """Nothing but the source."""
        del n_layers
        return {"source": "ICE has no hyper-parameters"}
