"""WISE's side memory: a changed copy of one matrix, and the rule by which each row of a batch takes it or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.activations import ACT2FN

from pytest_editpitfalls.engine.chains.keeping import keepable
from pytest_editpitfalls.engine.overlay import ForwardHook, RowContext

Activation = Callable[[Tensor], Tensor]


@keepable
@dataclass(frozen=True)
class SideMemory:
    """A side copy W' of the matrix W of one module, as the difference. A model holds one: an edit replaces it.

    Attributes:
        module: full name of the module inside the model.
        weight: (d_o, d_k) W' - W, whichever way round the module stores its own.
        threshold: activation difference above which a row takes the side copy.
        activation: the model's name of its activation function.
    """

    module: str
    weight: Tensor
    threshold: float
    activation: str

    def is_finite(self) -> bool:
        return bool(self.weight.isfinite().all()) and self.threshold == self.threshold

    def nbytes(self) -> int:
        return int(self.weight.nbytes)

    @classmethod
    def stack(cls, changes: Sequence[Sequence[SideMemory]]) -> StackedMemories:
        return StackedMemories(tuple(found[-1] if found else None for found in changes))


@dataclass(frozen=True)
class StackedMemories:
    """One side memory per edited model, or None. Never copied: a matrix for every row would not fit."""

    models: tuple[SideMemory | None, ...]

    def hook(self, rows: RowContext) -> ForwardHook | None:
        asked = {model: memory for model in set(rows.models.tolist()) if (memory := self.models[model])}
        if not asked:
            return None

        def route(_module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
            models, wide = rows.split(args[0])
            count, width = wide.shape[:2]
            own = output.reshape(count, width, -1)
            result = own.clone()
            known = rows.routes.get(self._name(asked)) if rows.continues else None
            decided = torch.zeros(count, dtype=torch.bool, device=wide.device) if known is None else known
            scope = rows.real(count, width).expand(count, width)
            for model, memory in asked.items():
                chosen = (models == model).nonzero()[:, 0]
                dtype = memory.weight.dtype
                before = own[chosen].to(dtype)
                after = before + wide[chosen].to(dtype) @ memory.weight.T
                if known is None:
                    difference = activation_difference(ACT2FN[memory.activation], before, after, scope[chosen])
                    decided[chosen] = difference > memory.threshold
                taken = decided[chosen]
                result[chosen[taken]] = after[taken].to(result.dtype)
            if known is None:
                rows.routes[self._name(asked)] = decided
            return result.reshape(output.shape)

        return route

    def _name(self, asked: dict[int, SideMemory]) -> str:
        return next(iter(asked.values())).module


def activation_difference(activation: Activation, before: Tensor, after: Tensor, scope: Tensor) -> Tensor:
    """(rows,) |act(after) - act(before)|_2, averaged over the tokens in ``scope``.

    Args:
        activation: the model's activation function, which the released code applies to the module's output.
        before: (rows, tokens, d_o) output with W.
        after: (rows, tokens, d_o) output with W'.
        scope: (rows, tokens) which tokens count.
    """
    # vector_norm's gradient at 0 is 0, as needed at the first step.
    size = torch.linalg.vector_norm(activation(after) - activation(before), dim=-1)
    mean: Tensor = (size * scope).sum(dim=1) / scope.sum(dim=1)
    return mean
