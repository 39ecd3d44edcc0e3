"""The matrix of an edited model's down-projection."""

from __future__ import annotations

from torch import Tensor

from pytest_editpitfalls.engine.matrices import matrix_of
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.overlay import DenseDelta, EditedModel, LowRankDelta


def edited_matrix(host: ModelAdapter, layer: int, model: EditedModel) -> Tensor:
    """(d_o, d_k) of block ``layer``, with what the model's changes add to it; float64."""
    matrix = host.here(matrix_of(host.down_projection(layer))).double()
    path = host.down_projection_path(layer)
    for change in model:
        if isinstance(change, LowRankDelta) and change.module == path:
            matrix = matrix + change.u.double() @ change.v.double().T
        elif isinstance(change, DenseDelta) and change.module == path:
            matrix = matrix + change.weight.double()
    return matrix
