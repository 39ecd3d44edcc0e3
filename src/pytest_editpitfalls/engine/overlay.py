"""Deltas and their per-row application: many edited models in one forward pass.

A case never touches the weights. Its edited model is the base model plus a list of deltas, and a batch with rows of
different cases runs through the shared base model once, each row with its own deltas added at the edited matrices:
``y_i = W x_i + U_case(i) (V_case(i)^T x_i)`` (design: the idea that everything hangs on).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .host import Host


@dataclass(frozen=True)
class LowRankDelta:
    """``U V^T`` added to the matrix of one module.

    Attributes:
        module: full name of the module inside the model.
        u: (d_o, rank), the output side.
        v: (d_k, rank), the input side.
    """

    module: str
    u: Tensor
    v: Tensor

    def is_finite(self) -> bool:
        return bool(self.u.isfinite().all() and self.v.isfinite().all())


Deltas = tuple[LowRankDelta, ...]
"""One edited model: the base model plus these, in any order (they add up)."""


class Overlay:
    """Deltas of several edited models, stacked so that every row of a batch gets its own.

    Args:
        host: the base model.
        models: one list of deltas per edited model; an empty list is the base model itself.
    """

    def __init__(self, host: Host, models: Sequence[Deltas]) -> None:
        self._host = host
        self._stacks = {
            name: _stack(name, models) for name in sorted({d.module for deltas in models for d in deltas})
        }

    def lowest_layer(self, default: int) -> int:
        """Index of the lowest block that any delta touches, or ``default``: blocks below are the base model's."""
        prefix = f"{self._host.family.blocks}."
        layers = [
            int(name[len(prefix) :].split(".", 1)[0]) for name in self._stacks if name.startswith(prefix)
        ]
        return min(layers, default=default)

    @contextmanager
    def rows(self, models: Tensor) -> Iterator[None]:
        """While open, row i of every batch is answered by edited model ``models[i]``.

        Args:
            models: (rows,) indices into the list given at construction; a single index serves every row.
        """
        with ExitStack() as stack:
            for name, (u, v) in self._stacks.items():
                chosen_u, chosen_v = u[models], v[models]
                # Saves work where only base-model rows are asked; on a GPU looking would cost a synchronisation.
                if chosen_u.device.type != "cpu" or bool((chosen_u != 0).any()):
                    handle = self._host.module(name).register_forward_hook(_adder(chosen_u, chosen_v))
                    stack.callback(handle.remove)
            yield


def _stack(name: str, models: Sequence[Deltas]) -> tuple[Tensor, Tensor]:
    """(models, d_o, rank) and (models, d_k, rank), padded with zeros to the greatest rank."""
    ours = [[delta for delta in deltas if delta.module == name] for deltas in models]
    sample = next(deltas[0] for deltas in ours if deltas)
    rank = max(sum(delta.u.shape[1] for delta in deltas) for deltas in ours)
    u = sample.u.new_zeros(len(models), sample.u.shape[0], rank)
    v = sample.v.new_zeros(len(models), sample.v.shape[0], rank)
    for index, deltas in enumerate(ours):
        column = 0
        for delta in deltas:
            end = column + delta.u.shape[1]
            u[index, :, column:end] = delta.u
            v[index, :, column:end] = delta.v
            column = end
    return u, v


def _adder(u: Tensor, v: Tensor) -> Any:
    """A forward hook that adds ``u (v^T x)`` row by row, in the deltas' own precision."""

    def add(_module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
        count = u.shape[0]
        x, y = args[0], output
        # A model may flatten (rows, tokens) before its MLP (OPT); rows stay in order.
        wide = x.reshape(count, -1, x.shape[-1])
        update = torch.bmm(torch.bmm(wide.to(v.dtype), v), u.transpose(1, 2))
        return (y.to(u.dtype) + update.reshape(y.shape)).to(y.dtype)

    return add
