"""A model that computes in float32 while its matrices are kept, and multiplied, in bfloat16 (`BF16_WEIGHTS`).

Of a linear layer y = W x + b the matrix is kept rounded to bfloat16, the input is rounded for the product, and the sum
over its entries is made in float32: mixed precision (Micikevicius et al. 2018, arXiv 1710.03740) for weights that are
frozen, so that no float32 copy of them is needed. Biases, norms, softmax, the residual stream and all that editors
compute stay in float32. The gradient by x is W^T g with g rounded, too; none by W is asked for.

On a CPU the library rounds the result of such a product to bfloat16 once more. For the head, whose logits are large and
decide every probability, what was rounded away is made in a second product and added.
"""

from __future__ import annotations

from functools import cache
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .matrices import is_matrix, is_plain, is_transposed

HALF = torch.bfloat16

_CONVERTED: WeakSet[Any] = WeakSet()
"""The models that `keep_matrices_in_bf16` has made."""


class _Bf16:
    """Marks a module whose weights are kept in bfloat16 while its inputs and outputs are not."""


class _Matrix(_Bf16):
    """Before `nn.Linear` or Conv1D: their product, with both factors rounded."""

    weight: Tensor
    bias: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        product = linear(x.to(HALF), self._matrix()).to(x.dtype)
        return product if self.bias is None else product + self.bias

    def _matrix(self) -> Tensor:
        """(d_o, d_k)"""
        return self.weight


class _TransposedMatrix(_Matrix):
    """Before Conv1D, which keeps W as (d_k, d_o)."""

    def _matrix(self) -> Tensor:
        return self.weight.T


class _Head(_Matrix):
    """Before the `nn.Linear` that makes logits: their sums keep nearly all of float32's digits."""

    def forward(self, x: Tensor) -> Tensor:
        rounded = x.to(HALF)
        product = linear(rounded, self.weight)
        with torch.no_grad():
            # W x - what it was rounded to: the library subtracts before it rounds.
            rest = torch.addmm(product.flatten(0, -2), rounded.flatten(0, -2), self.weight.T, beta=-1)
        logits = product.to(x.dtype).add_(
            rest.reshape(product.shape)
        )  # in place: they are the largest tensor of a pass
        return logits if self.bias is None else logits + self.bias


class _Table(_Bf16):
    """Before an embedding: its rows, which may be the head's, arrive in float32."""

    def forward(self, ids: Tensor) -> Tensor:
        rows: Tensor = super().forward(ids)  # type: ignore[misc]
        return rows.float()


class _Experts(_Bf16):
    """Before a module of experts, whose matrices are slices of its own tensors: all that it computes is in bfloat16."""

    def forward(self, x: Tensor, *routes: Any, **more: Any) -> Tensor:
        result: Tensor = super().forward(x.to(HALF), *routes, **more)  # type: ignore[misc]
        return result.to(x.dtype)


def keep_matrices_in_bf16(model: Any, blocks: str) -> None:
    """Round a model's matrices to bfloat16 and have everything else computed in float32.

    Those are the linear layers and experts of its blocks, its head and its token embedding. What else it multiplies
    with (a router, convolutions of an image) stays in float32, and so does a linear layer with a ``forward`` of its own
    that does something else than W x + b.

    Args:
        model: a frozen Hugging Face causal language model, its weights in any floating-point dtype.
        blocks: full name of its list of blocks.
    """
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    kinds: dict[Any, Any] = {module: _kind(module) for module in model.get_submodule(blocks).modules()}
    kinds = {module: kind for module, kind in kinds.items() if kind is not None}
    if _kind(head) is _Matrix:
        kinds[head] = _Head
    if isinstance(table, nn.Embedding):
        kinds[table] = _Table
    own = {module: [] if module in kinds else list(module.parameters(recurse=False)) for module in model.modules()}
    elsewhere = {id(parameter) for parameters in own.values() for parameter in parameters}
    halves: set[int] = set()
    for module, kind in kinds.items():
        matrices = module.parameters(recurse=False) if kind is _Experts else [module.weight]
        shared = {id(matrix) for matrix in matrices}
        if not shared & elsewhere:  # a module that is left alone may use a matrix as well
            own_class: Any = type(module)
            module.__class__ = _before(kind, own_class)
            halves |= shared
    for parameter in model.parameters():
        parameter.data = parameter.data.to(HALF if id(parameter) in halves else torch.float32)
    for buffer in model.buffers():
        if buffer.dtype in (torch.float16, HALF):
            buffer.data = buffer.data.to(torch.float32)
    _CONVERTED.add(model)


def has_bf16_weights(model: Any) -> bool:
    """Whether `keep_matrices_in_bf16` made the model what it is."""
    return model in _CONVERTED


def rounds_inputs(module: nn.Module) -> bool:
    """Whether all that a linear layer does besides W x + b is to round x for the product; the head does more."""
    return isinstance(module, _Matrix) and not isinstance(module, _Head)


def _kind(module: nn.Module) -> type[_Bf16] | None:
    """What the module is to become; None where it is left alone."""
    if type(module).__name__.endswith("Experts"):
        own = list(module.parameters(recurse=False))
        return _Experts if own and all(parameter.ndim == 3 for parameter in own) else None
    if not is_matrix(module) or not is_plain(module):
        return None
    return _TransposedMatrix if is_transposed(module) else _Matrix


@cache
def _before(kind: Any, own: Any) -> Any:
    """The class of that name that does what ``kind`` says and is ``own`` in all else."""
    return type(own.__name__, (kind, own), {"__module__": own.__module__, "__doc__": own.__doc__})
