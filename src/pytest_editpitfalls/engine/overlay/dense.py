"""A whole matrix (and bias) per edited model: the form of fine-tuning. Costs as much memory as the module itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .change import ForwardHook, RowContext


@dataclass(frozen=True)
class DenseDelta:
    """Added to the matrix of one module, and to its bias where it has one.

    Attributes:
        module: full name of the module inside the model.
        weight: (d_o, d_k), whichever way round the module stores its own.
        bias: (d_o,) or None.
    """

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
    """One tuple of deltas per edited model. Never copied: a matrix for every row would not fit."""

    models: tuple[tuple[DenseDelta, ...], ...]

    def hook(self, rows: RowContext) -> ForwardHook | None:
        asked = rows.models.tolist()
        places = {model: [i for i, m in enumerate(asked) if m == model] for model in dict.fromkeys(asked)}
        changed = {model: places[model] for model in places if self.models[model]}
        if not changed:
            return None
        count = len(asked)

        def add(_module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
            x = args[0]
            wide = x.reshape(count, -1, x.shape[-1])
            dtype = next(iter(self.models[next(iter(changed))])).weight.dtype
            result = output.reshape(count, -1, output.shape[-1]).to(dtype, copy=True)
            for model, chosen in changed.items():
                for delta in self.models[model]:
                    update = wide[chosen].to(dtype) @ delta.weight.T
                    result[chosen] += update if delta.bias is None else update + delta.bias
            return result.reshape(output.shape).to(output.dtype)

        return add
