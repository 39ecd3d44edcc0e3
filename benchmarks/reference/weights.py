"""Weights that are written in place, copied before and copied back after."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_editpitfalls.engine.model_adapter import ModelAdapter, is_transposed


class EditedMatrices:
    """The down-projections of some layers.

    Args:
        host: the model.
        layers: the layers that an editor writes.
    """

    def __init__(self, host: ModelAdapter, layers: Sequence[int]) -> None:
        self._modules = {layer: host.down_projection(layer) for layer in layers}

    def copies(self) -> dict[int, Tensor]:
        """Each matrix as it is now."""
        return {layer: self._weight(layer).detach().clone() for layer in self._modules}

    @torch.no_grad()
    def restore(self, copies: dict[int, Tensor]) -> None:
        """Put copies back, bit for bit."""
        for layer, copy in copies.items():
            self._weight(layer).copy_(copy)

    @torch.no_grad()
    def add(self, layer: int, update: Tensor) -> None:
        """Add an update (d_o, d_k) to a layer's matrix, whichever way round it is stored."""
        weight = self._weight(layer)
        weight += (update.T if is_transposed(self._modules[layer]) else update).to(weight.dtype)

    def _weight(self, layer: int) -> Tensor:
        weight: Tensor = self._modules[layer].weight  # type: ignore[assignment]
        return weight
