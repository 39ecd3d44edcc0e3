"""Many deltas of one module as one matrix, and the weights with it added, for passes that one model has to itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pytest_editpitfalls.engine.matrices import is_matrix, is_transposed
from pytest_editpitfalls.engine.quantised import is_quantised

from .change import EditedModel, RowContext
from .dense import DenseDelta, StackedDense
from .low_rank import LowRankDelta

JOINED = 16
"""Low-rank deltas of one module that become one: their columns stand side by side, as in a pass, and no bit changes."""

DENSE = 4
"""Whole matrices of one module that are kept apart: the pitfalls of two edits get the very numbers that they had."""

TAIL = 8
"""Behind a matrix that is there already, low-rank deltas wait until their rank is this part of break-even."""


@dataclass(frozen=True)
class FoldedDelta(DenseDelta):
    """The sum of many deltas. Where a pass is this model's alone, the module gets weights of its own instead."""

    # the private weights by the tensor that they were made of; made when they are first used
    _private: dict[int, tuple[Tensor, nn.Parameter]] = field(default_factory=dict, repr=False, compare=False)

    def nbytes(self) -> int:
        return super().nbytes() + sum(int(private.nbytes) for _, private in self._private.values())

    @classmethod
    def stack(cls, changes: Sequence[Sequence[DenseDelta]]) -> StackedFolded:
        return StackedFolded(tuple(tuple(deltas) for deltas in changes))

    def weights_for(self, module: Any, name: str, delta: Tensor) -> nn.Parameter:
        """Return the module's weight (or bias) with the delta added, in the layout of the module."""
        base: Tensor = getattr(module, name)
        kept = self._private.get(id(base))
        if kept is None or kept[0] is not base:
            own = (base.double() + delta.double()).to(base.dtype)
            kept = self._private[id(base)] = (base, nn.Parameter(own, requires_grad=False))
        return kept[1]


@dataclass(frozen=True)
class StackedFolded(StackedDense):
    """As `StackedDense`; a pass of one model has its weights in the module's place."""

    def own_weights(self, rows: RowContext, module: nn.Module) -> AbstractContextManager[None] | None:
        """What puts private weights into the module; None where rows of several models share the pass.

        The module's own parameters are not written: others stand in their place, and they are put back.
        """
        asked = set(rows.models.tolist())
        deltas = self.models[next(iter(asked))] if len(asked) == 1 else ()
        if len(deltas) != 1 or not is_matrix(module) or is_quantised(module.weight):
            return None
        (delta,) = deltas
        owner: Any = module
        # In a half-precision model the sum would be rounded to nothing; the delta itself is of single precision.
        if owner.weight.dtype != delta.weight.dtype or owner.weight.device != delta.weight.device:
            return None
        if delta.bias is not None and owner.bias is None:
            return None
        assert isinstance(delta, FoldedDelta)
        weight = delta.weight.T if is_transposed(module) else delta.weight
        private = {"weight": delta.weights_for(module, "weight", weight)}
        if delta.bias is not None:
            private["bias"] = delta.weights_for(module, "bias", delta.bias)
        return _standing_in(module, private)


@contextmanager
def _standing_in(module: nn.Module, private: dict[str, nn.Parameter]) -> Iterator[None]:
    own = {name: module._parameters[name] for name in private}
    try:
        module._parameters.update(private)
        yield
    finally:
        module._parameters.update(own)


def break_even(d_o: int, d_k: int) -> int:
    """Return the rank past which U V^T costs more than the matrix itself, in memory and in products alike."""
    return d_o * d_k // (d_o + d_k)


def folded(model: EditedModel) -> EditedModel:
    """Return the same edited model in fewer changes; a model of few edits as it is.

    Low-rank deltas of a module are joined, and become a matrix past break-even; so do many whole matrices. Sums are
    made in float64 and rounded once. A module with a change that does not simply add up is left alone.
    """
    places: dict[str, list[Any]] = {}
    for change in model:
        if (name := getattr(change, "module", None)) is not None:
            places.setdefault(name, []).append(change)
    shorter = {name: short for name, changes in places.items() if (short := _fewer(changes)) is not None}
    if not shorter:
        return model
    result: list[Any] = []
    for change in model:
        name = getattr(change, "module", None)
        if name not in shorter:
            result.append(change)
        elif change is places[name][0]:
            result += shorter[name]
    return tuple(result)


def _fewer(changes: Sequence[Any]) -> list[DenseDelta | LowRankDelta] | None:
    """The changes of one module as fewer ones; None where they stay."""
    low = [change for change in changes if type(change) is LowRankDelta]
    dense = [change for change in changes if isinstance(change, DenseDelta)]
    if len(changes) < 2 or len(low) + len(dense) < len(changes):
        return None
    rank = sum(change.u.shape[1] for change in low)
    already = any(isinstance(change, FoldedDelta) for change in dense)
    most = break_even(low[0].u.shape[0], low[0].v.shape[0]) if low else 0
    if already and (rank * TAIL > most or len(dense) > 1):
        return [_sum(dense, low)]
    if rank > most or len(dense) > DENSE:
        return [_sum(dense, low)]
    if len(low) >= JOINED:
        return [*dense, _joined(low)]
    return None


def _joined(low: Sequence[LowRankDelta]) -> LowRankDelta:
    u, v = torch.cat([each.u for each in low], dim=1), torch.cat([each.v for each in low], dim=1)
    return LowRankDelta(low[0].module, u, v)


def _sum(dense: Sequence[DenseDelta], low: Sequence[LowRankDelta]) -> FoldedDelta:
    parts = [each.weight.detach().double() for each in dense]
    if low:
        joined = _joined(low)
        parts.append(joined.u.double() @ joined.v.double().T)
    dtype = dense[0].weight.dtype if dense else low[0].u.dtype
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    biases = [each.bias.detach().double() for each in dense if each.bias is not None]
    bias = torch.stack(biases).sum(dim=0).to(dtype) if biases else None
    return FoldedDelta((dense or low)[0].module, total.to(dtype), bias)
