"""What a declaration may call a projection: a linear layer, or GPT-2's Conv1D, which stores its matrix transposed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .quantised import plain


def is_matrix(module: Any) -> bool:
    """Whether the module holds one matrix, (d_o, d_k) or transposed."""
    weight = getattr(module, "weight", None)
    return (isinstance(module, nn.Linear) or is_transposed(module)) and isinstance(weight, Tensor) and weight.ndim == 2


def is_transposed(module: nn.Module) -> bool:
    """Whether the module keeps W as (d_in, d_out), as GPT-2's Conv1D does."""
    return type(module).__name__ == "Conv1D"


def matrix_of(module: Any) -> Tensor:
    """(d_o, d_k) the numbers of a matrix, on its own device: dequantised, and the right way round."""
    weight = plain(module.weight).detach()
    return weight.T if is_transposed(module) else weight


def matrix_shape(module: nn.Module) -> tuple[int, int]:
    """(d_o, d_k) of a matrix, whichever way round the module stores it."""
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features  # a quantised weight may be packed into another shape
    weight: Any = module.weight
    rows, columns = weight.shape
    # Decided by module type, never by shape: square matrices exist.
    return (columns, rows) if is_transposed(module) else (rows, columns)


def is_plain(module: Any) -> bool:
    """Whether a linear layer computes W x + b: a subclass may have its own ``forward`` (Falcon's does the same)."""
    matrix = module.weight.T if is_transposed(module) else module.weight
    x = torch.linspace(-1, 1, matrix.shape[1], dtype=matrix.dtype, device=matrix.device)[None]
    with torch.no_grad():
        try:
            expected = linear(x, matrix, module.bias)
            wrong = (module(x) - expected).norm()
        except Exception:  # a subclass may ask for more than an input
            return False
    return bool(wrong <= 8 * torch.finfo(x.dtype).eps * len(x.T) ** 0.5 * expected.norm())
