"""UltraEdit's hyper-parameters. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from pytest_editpitfalls.engine.hyperparameters.fields import Count, Positive, at_depth
from pytest_editpitfalls.engine.hyperparameters.module_names import NamedMatrices

FIRST_FRACTION, LAST_FRACTION = 0.65, 0.93
"""Where the edited blocks of a model without a preset begin and end, as shares of its depth. Published for
down-projections: GPT-J 18 to 26 of 28, Phi-4 30 to 38 of 40, Mistral-7B 29 and 30 of 32."""

SMALL_MODEL_LR = 3e-4
"""lr without a preset. On the embedded model 3e-5 changes none of six facts of coverage, 1e-4 two and 3e-4 all. The
published models are wider (|x^|^2 is about d_k) and are edited with a hundred facts in a step."""


class UltraEditHyperparameters(NamedMatrices):
    """UltraEdit (XiaojieGu/UltraEdit, config/editor/ultraedit.yaml and config/model; zjunlp/EasyEdit)."""

    released_names: ClassVar[Mapping[str, str]] = {"inner_params": "edit_modules"}
    released_unused: ClassVar[Mapping[str, str]] = {"token": "only tokens that predict the answer count here"}

    lr: Positive = 1e-6
    """how far an output is moved against its standardised gradient"""
    warm_up: Annotated[int, Field(ge=0, le=64, strict=True)] = 64
    """facts that ship whose gradients start mean and spread, at most 64; 0, as released: the case's own edits alone"""
    loss: Literal["sum", "mean"] = "sum"
    """over a step's target tokens; mean is the release's, where steps of many tokens then have small gradients"""
    token: Literal["ans"] = "ans"
    """tokens that count; only those that predict the answer"""
    batch_size: Count = 128
    """accepted, not used: all tokens of a step are solved for together"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """Down-projections at the published share of the depth, with a larger step."""
        last = at_depth(LAST_FRACTION, n_layers)
        return {
            "layers": list(range(min(at_depth(FIRST_FRACTION, n_layers), last), last + 1)),
            "lr": SMALL_MODEL_LR,
            "source": f"no preset for this model: down-projections at {FIRST_FRACTION} to {LAST_FRACTION} of the depth",
        }
