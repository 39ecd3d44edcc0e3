"""``U V^T`` added to a matrix: the form of nearly every editor's update, and the cheapest to apply row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .change import ForwardHook, RowContext


@dataclass(frozen=True)
class LowRankDelta:
    """``U V^T`` added to the matrix of one module.

    Attributes:
        module: full name of the module inside the model.
        u: (d_o, rank), the output side.
        v: (d_k, rank), the input side.
    """

    token_wise: ClassVar[bool] = True
    module: str
    u: Tensor
    v: Tensor

    def is_finite(self) -> bool:
        return bool(self.u.isfinite().all() and self.v.isfinite().all())

    def nbytes(self) -> int:
        return int(self.u.nbytes + self.v.nbytes)

    @classmethod
    def stack(cls, changes: Sequence[Sequence[LowRankDelta]]) -> StackedLowRank:
        """(models, d_o, rank) and (models, d_k, rank), padded with zeros to the greatest rank."""
        sample = next(deltas[0] for deltas in changes if deltas)
        rank = max(sum(delta.u.shape[1] for delta in deltas) for deltas in changes)
        u = sample.u.new_zeros(len(changes), sample.u.shape[0], rank)
        v = sample.v.new_zeros(len(changes), sample.v.shape[0], rank)
        for index, deltas in enumerate(changes):
            column = 0
            for delta in deltas:
                end = column + delta.u.shape[1]
                u[index, :, column:end] = delta.u
                v[index, :, column:end] = delta.v
                column = end
        return StackedLowRank(u, v)


@dataclass(frozen=True)
class StackedLowRank:
    """(models, d_o, rank) and (models, d_k, rank)."""

    u: Tensor
    v: Tensor

    def hook(self, rows: RowContext) -> ForwardHook | None:
        u, v = self.u[rows.models], self.v[rows.models]
        # Saves work where only base-model rows are asked; on a GPU looking would cost a synchronisation.
        # What is being trained may start at zero.
        if u.device.type == "cpu" and not u.requires_grad and not bool((u != 0).any()):
            return None
        return low_rank_hook(u, v)


def low_rank_hook(u: Tensor, v: Tensor) -> ForwardHook:
    """Adds ``u_i (v_i^T x_i)`` to row i's output, in the deltas' own precision.

    Args:
        u: (rows, d_o, rank); with one row it serves every row.
        v: (rows, d_k, rank).
    """
    count = u.shape[0]

    def add(_module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
        x = args[0]
        # A model may flatten (rows, tokens) before its MLP (OPT); rows stay in order.
        wide = x.reshape(count, -1, x.shape[-1])
        update = torch.bmm(torch.bmm(wide.to(v.dtype), v), u.transpose(1, 2))
        return (output.to(u.dtype) + update.reshape(output.shape)).to(output.dtype)

    return add
