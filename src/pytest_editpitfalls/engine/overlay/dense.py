"""A whole matrix (and bias) per edited model: the form of fine-tuning. Costs as much memory as the module itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import linear

from .change import ForwardHook, RowContext


@dataclass(frozen=True)
class DenseDelta:
    """Added to the matrix of one module, and to its bias where it has one.

    Attributes:
        module: full name of the module inside the model.
        weight: (d_o, d_k), whichever way round the module stores its own.
        bias: (d_o,) or None.
    """

    token_wise: ClassVar[bool] = True
    module: str
    weight: Tensor
    bias: Tensor | None = None

    def is_finite(self) -> bool:
        return bool(self.weight.isfinite().all()) and (self.bias is None or bool(self.bias.isfinite().all()))

    def nbytes(self) -> int:
        return int(self.weight.nbytes) + (0 if self.bias is None else int(self.bias.nbytes))

    @classmethod
    def stack(cls, changes: Sequence[Sequence[DenseDelta]]) -> StackedDense:
        return StackedDense(tuple(tuple(deltas) for deltas in changes))


@dataclass(frozen=True)
class StackedDense:
    """One tuple of deltas per edited model. Never copied: a matrix for every row would not fit.

    Gradients flow to the inputs and to the matrices, each of which is read by one product for each pass.
    """

    models: tuple[tuple[DenseDelta, ...], ...]

    def hook(self, rows: RowContext) -> ForwardHook | None:
        """Adds each row's own ``x W^T + b``, in the deltas' own precision; None where no row has a delta."""
        asked = rows.models.tolist()
        # Rows of one model come together, so that a model costs one product for each of its deltas.
        changed = sorted((row for row, m in enumerate(asked) if self.models[m]), key=lambda row: asked[row])
        if not changed:
            return None
        counts = Counter(asked[row] for row in changed)
        as_they_stand = changed == list(range(len(asked)))
        order = torch.tensor(changed, device=rows.models.device)
        count, dtype = len(asked), self.models[asked[changed[0]]][0].weight.dtype

        def add(_module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
            # A model may flatten (rows, tokens) before its MLP (OPT); rows stay in order.
            wide = args[0].reshape(count, -1, args[0].shape[-1])
            result = output.reshape(count, -1, output.shape[-1]).to(dtype)
            taken = (wide if as_they_stand else wide.index_select(0, order)).to(dtype)
            parts = taken.split(list(counts.values()))
            updates = torch.cat([_update(part, self.models[model]) for model, part in zip(counts, parts, strict=True)])
            result = result + updates if as_they_stand else result.index_add(0, order, updates)
            return result.reshape(output.shape).to(output.dtype)

        return add


def _update(x: Tensor, deltas: tuple[DenseDelta, ...]) -> Tensor:
    """What the deltas of one model add to its rows: (rows, tokens, d_o) of (rows, tokens, d_k)."""
    first, *others = deltas
    update = linear(x, first.weight, first.bias)
    for delta in others:
        update = update + linear(x, delta.weight, delta.bias)
    return update
