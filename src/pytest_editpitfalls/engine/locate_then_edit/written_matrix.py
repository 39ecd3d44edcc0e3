"""The matrix of an edited model's down-projection."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pytest_editpitfalls.engine.matrices import is_transposed
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.overlay import DenseDelta, EditedModel, LowRankDelta


def edited_matrix(host: ModelAdapter, layer: int, model: EditedModel) -> Tensor:
    """(d_o, d_k) of block ``layer``, with what the model's changes add to it; float64."""
    module: Any = host.down_projection(layer)
    weight: Tensor = module.weight.detach().double()
    matrix = weight.T if is_transposed(module) else weight
    path = host.down_projection_path(layer)
    for change in model:
        if isinstance(change, LowRankDelta) and change.module == path:
            matrix = matrix + change.u.double() @ change.v.double().T
        elif isinstance(change, DenseDelta) and change.module == path:
            matrix = matrix + change.weight.double()
    return matrix
