"""SimIE's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters, Positive

Method = Literal["rome", "r-rome", "memit", "emmet", "pmet", "alphaedit", "mend"]


class SimieHyperparameters(Hyperparameters):
    """SimIE (YamingGuo98/SimIE, main_lifelong.py)."""

    editing_method: Method = "memit"
    """the editor that it is put on; one whose updates are low-rank"""
    hparams: dict[str, Any] | None = None
    """that editor's, as a table such as `{v_lr = 0.1}`; what is not there is as it has it for the model"""
    lamHyper: Positive = 1.0
    """lambda: what the inputs of earlier edits weigh against"""
    init_model: bool = False
    """whether every edit is computed on the unedited model instead of the one before it"""
    solver: Literal["LU", "Cholesky", "SVD"] = "LU"
    """accepted, not used: the system is solved by Cholesky's factors in float64"""

    @field_validator("editing_method", mode="before")
    @classmethod
    def _our_name(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """The release's defaults."""
        del n_layers
        return {"source": "no preset for this model: the release's defaults, put on MEMIT"}
