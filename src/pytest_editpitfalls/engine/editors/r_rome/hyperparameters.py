"""r-ROME's hyper-parameters. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationInfo, field_validator

from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import RankOneHyperparameters


class RRomeHyperparameters(RankOneHyperparameters):
    """r-ROME: ROME with one and the same key everywhere (scalable-model-editing/rebuilding-rome; EasyEdit, R-ROME).

    EasyEdit's flags are three, but say one thing: the keys of the prefixed prompts, or the bare prompt's. The
    published files leave C out (``mom2_adjustment`` false).
    """

    enable_random_prefix_keys: bool = True
    """the key is the mean over the context templates"""
    enable_prompt_keys: bool = False
    """the key is the bare prompt's; the opposite of `enable_random_prefix_keys`"""
    original_implementation: Literal[False] = False
    """only false: the original mixture of the two keys is the editor `rome`"""

    @field_validator("enable_prompt_keys")
    @classmethod
    def _one_kind_of_key(cls, value: bool, info: ValidationInfo) -> bool:
        if value == info.data.get("enable_random_prefix_keys"):
            raise ValueError("exactly one of enable_prompt_keys and enable_random_prefix_keys is true")
        return value

    @classmethod
    def implied_by(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The other one of the two key flags."""
        pair = ("enable_prompt_keys", "enable_random_prefix_keys")
        return {
            other: not given[key]
            for key, other in (pair, pair[::-1])
            if isinstance(given.get(key), bool) and other not in given
        }
