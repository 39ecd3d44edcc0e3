"""IKE's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Any, Literal

from pytest_editpitfalls.engine.hyperparameters.fields import Count, Hyperparameters


class IkeHyperparameters(Hyperparameters):
    """IKE: demonstrations retrieved from other cases, then the new fact (zjunlp/EasyEdit, hparams/IKE)."""

    k: Count = 16
    """number of demonstrations; the paper takes 32, EasyEdit 16"""
    retriever: Literal["mean_hidden_state"] = "mean_hidden_state"
    """how near facts are found: cosine of the base model's mean hidden states (the paper: a sentence encoder)"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """EasyEdit's number, which is the same for every model."""
        del n_layers
        return {"source": "no preset for this model: the number that every published file has"}
