"""Where target vectors are added and states are read: always at the subject's last token of a row."""

from __future__ import annotations

from enum import Enum

from torch import nn

from pytest_editpitfalls.engine.model_adapter import ModelAdapter


class Site(Enum):
    """A module of a block whose output a target vector is added to."""

    BLOCK = "block"
    """the whole block (MEMIT)"""
    MLP = "mlp"
    """the MLP's down-projection (ROME, PMET); before the norm where one follows"""
    ATTENTION = "attention"
    """the attention's output projection (PMET); before the norm where one follows"""

    def module(self, host: ModelAdapter, layer: int) -> nn.Module:
        """The module in block ``layer``."""
        if self is Site.MLP:
            return host.down_projection(layer)
        if self is Site.ATTENTION:
            return host.module(f"{host.family.blocks}.{layer}.{host.family.attention_output}")
        return host.blocks[layer]
