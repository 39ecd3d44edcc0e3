"""AnyEdit's hyper-parameters. Torch-free."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from pytest_editpitfalls.engine.hyperparameters.fields import Count, NotNegative
from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import LayerByLayerHyperparameters

SMALL_MODEL_UPDATE_WEIGHT = 500
"""mom2_update_weight without a preset. On the embedded model MEMIT's 2000 took 9 of 12 facts of coverage, 500 all; it
was chosen on four of them, on which 100 was no better. AnyEdit preserves the other tokens' keys, too."""


class AnyEditHyperparameters(LayerByLayerHyperparameters):
    """AnyEdit on MEMIT (jianghoucheng/AnyEdit, hparams/MEMIT_ARE)."""

    window_size: Count = 40
    """target tokens that share a target vector"""
    overlap: Annotated[int, Field(ge=0, strict=True)] = 0
    """tokens of a window that the next one has, too"""
    fact_token: Literal["subject_last", "last"] = "subject_last"  # type: ignore[assignment]
    """accepted, not used: a window's vector is added at the token before it"""
    nas: Literal[False] = False
    """only false: the vectors of windows stand at tokens of the target, whose usual norm is not measured"""
    kl_factor: NotNegative = 0.0625
    """accepted, not used: there is no KL term"""
    context_template_length_params: tuple[tuple[int, int], ...] = ()
    """accepted, not used: there are no context templates"""
    context_templates: tuple[str, ...] | None = Field(default=None, min_length=1)
    """accepted, not used: there are no context templates"""

    @field_validator("overlap")
    @classmethod
    def _shorter(cls, value: int, info: ValidationInfo) -> int:
        size = info.data.get("window_size")
        if size is not None and value >= size:
            raise ValueError(f"it has to be smaller than window_size, which is {size}")
        return value

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """Layers and clamp as for MEMIT, the release's optimisation, `SMALL_MODEL_UPDATE_WEIGHT`."""
        values = super().scaled(n_layers)
        del values["kl_factor"]
        return values | {
            "v_num_grad_steps": 25,
            "v_weight_decay": 1e-3,
            "mom2_update_weight": SMALL_MODEL_UPDATE_WEIGHT,
            "source": (
                "no preset for this model: layers as for MEMIT, the release's optimisation, "
                f"update weight {SMALL_MODEL_UPDATE_WEIGHT} (with MEMIT's some facts are not taken)"
            ),
        }
