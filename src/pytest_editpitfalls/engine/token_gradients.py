"""Each token's input and output gradient at some matrices: what MEND and UltraEdit make their updates of.

The gradient of a matrix W (d_o, d_k) is a sum over tokens, dL/dW = sum_t d_t x_t^T, with x_t the module's input and
d_t the loss's gradient with respect to its output (Mitchell et al. 2022, section 3). Rows of many independent
edits go through the model together; a row's loss does not depend on the others, so neither do its x and d.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine.forward import Forward, Rows
from pytest_editpitfalls.engine.matrices import is_matrix, matrix_shape
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.errors import UsageError


@dataclass(frozen=True, slots=True)
class Matrix:
    """One edited matrix.

    Attributes:
        module: full name of its module inside the model.
        d_o: width of the module's output.
        d_k: width of its input.
    """

    module: str
    d_o: int
    d_k: int

    @property
    def shape(self) -> tuple[int, int]:
        return (self.d_o, self.d_k)


def matrix_at(host: ModelAdapter, module: str) -> Matrix:
    """The matrix of the module of that full name, which has one."""
    return Matrix(module, *matrix_shape(host.module(module)))


def named_matrices(
    host: ModelAdapter, layers: Sequence[int], edit_modules: Sequence[str], *, editor: str
) -> tuple[Matrix, ...]:
    """The matrices named in ``edit_modules``, or the down-projections of ``layers``.

    Args:
        editor: whose hyper-parameters they are, for messages.

    Raises:
        UsageError: the model does not have one of them, it has no matrix, it is in none of the blocks, or it is named
            twice; or the model's MLPs have experts.
    """
    found: dict[str, Matrix] = {}
    blocks, example = host.family.blocks, f"{host.family.blocks}.0.{host.family.down_projection}"
    for name in edit_modules or map(host.down_projection_path, layers):
        path, where = name.removesuffix(".weight"), f"{editor}.edit_modules"
        module = host.module(path, where=where)
        if not is_matrix(module):
            raise UsageError(
                f"'{path}' is a {type(module).__name__} and has no matrix to edit",
                where=where,
                fix=f"name projections of the MLP, such as '{example}'",
            )
        if not path.startswith(f"{blocks}."):
            raise UsageError(
                f"'{path}' is in none of the model's blocks ('{blocks}'), and matrices elsewhere cannot be edited",
                where=where,
                fix=f"name projections of the MLP, such as '{example}'",
            )
        if path in found:
            raise UsageError(f"'{path}' is named twice", where=where, fix="name each matrix once")
        found[path] = matrix_at(host, path)
    return tuple(found.values())


def edited_matrices(host: ModelAdapter, layers: Sequence[int]) -> tuple[Matrix, ...]:
    """All matrices of the MLPs in ``layers``: input side first, then the down-projection, block by block.

    Raises:
        UsageError: the family does not say where its input-side matrices are, or its MLPs have experts.
    """
    family = host.family
    if family.mixture:
        raise UsageError(
            f"MEND edits the matrices of one MLP, and those of family '{family.name}' are mixtures of experts",
            where="mend",
            fix="use another model, or an editor that can edit one (docs/editors.md)",
        )
    if not family.up_projections:
        raise UsageError(
            f"family '{family.name}' does not say where the MLP's input-side matrices are",
            where="mend",
            fix="give its declaration up_projections (docs/families.md)",
        )
    paths = (*family.up_projections, family.down_projection)
    return tuple(matrix_at(host, f"{family.blocks}.{layer}.{path}") for layer in layers for path in paths)


@dataclass(frozen=True, slots=True)
class TargetRow:
    """A prompt and the target that should follow it, as token ids."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """What the model reads: the last target token is predicted only."""
        return self.prompt + self.target[:-1]


@dataclass(frozen=True)
class TargetBatch:
    """Rows that run together, padded on the right.

    Attributes:
        rows: r rows of tokens.
        real: (r, width) whether a column is a token.
        at_row: (p,) row of each predicted token.
        at_column: (p,) column whose hidden state predicts it.
        token: (p,) the predicted token.
        count: (r,) predicted tokens of each row.
    """

    rows: Rows
    real: Tensor
    at_row: Tensor
    at_column: Tensor
    token: Tensor
    count: Tensor

    @classmethod
    def of(cls, rows: Sequence[TargetRow], device: torch.device) -> TargetBatch:
        padded = Rows.pad([row.ids for row in rows], device)
        lengths = torch.tensor([len(row.ids) for row in rows], device=device)
        real = torch.arange(padded.ids.shape[1], device=device) < lengths[:, None]
        predicted = [
            (index, len(row.prompt) - 1 + place, token)
            for index, row in enumerate(rows)
            for place, token in enumerate(row.target)
        ]
        at_row, at_column, token = torch.tensor(predicted, device=device).reshape(-1, 3).T
        count = torch.tensor([len(row.target) for row in rows], device=device)
        return cls(padded, real, at_row, at_column, token, count)

    def predicting(self, hidden: Tensor) -> Tensor:
        """(p, hidden size) the hidden states that predict a token, out of (r, width, hidden size)."""
        return hidden[self.at_row, self.at_column]

    def row_means(self, values: Tensor) -> Tensor:
        """(r,) mean over each row's predicted tokens of ``values`` (p,)."""
        total = values.new_zeros(len(self.count)).index_add(0, self.at_row, values)
        return total / self.count


@dataclass(frozen=True)
class TokenGradients:
    """Of one matrix and a batch of r rows.

    Attributes:
        x: (r, width, d_k) inputs.
        d: (r, width, d_o) gradients of the rows' summed loss by the outputs.
        kept: (r, width) tokens that count: no padding, and neither x nor d is all zero.
    """

    x: Tensor
    d: Tensor
    kept: Tensor

    def is_finite(self) -> bool:
        return bool(self.x.isfinite().all() and self.d.isfinite().all())


@torch.enable_grad()
def token_gradients(
    forward: Forward,
    batch: TargetBatch,
    matrices: Sequence[Matrix],
    weight: Tensor,
    *,
    first: int = 0,
    hidden: Tensor | None = None,
) -> list[TokenGradients]:
    """Inputs and output gradients of every matrix under ``sum_r weight_r * -mean_t log p(target_rt)``.

    Call it inside ``Overlay.rows`` to take them at edited models.

    Args:
        weight: (r,) weight of each row's loss: 1 over the number of requests that are written together.
        first: first block that runs; above 0 ``hidden`` (r, width, hidden size) is its input.
    """
    inputs: dict[str, Tensor] = {}
    probes: dict[str, Tensor] = {}
    host, dtype = forward.host, forward.host.edit_dtype

    def probe(name: str) -> Any:
        def add(_module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
            inputs[name] = args[0].detach()
            # The gradient by this zero is the gradient by the output, wherever else the output comes from.
            probes[name] = torch.zeros_like(output, requires_grad=True)
            return output + probes[name]

        return add

    with ExitStack() as stack:
        for matrix in matrices:
            handle = forward.host.module(matrix.module).register_forward_hook(probe(matrix.module))
            stack.callback(handle.remove)
        out = forward.blocks(batch.rows, first=first, hidden=hidden)
        log_p = forward.log_probs(batch.predicting(out), batch.token)
        loss = -(batch.row_means(log_p) * weight.to(log_p.dtype)).sum()
        grads = torch.autograd.grad(loss, [probes[matrix.module] for matrix in matrices])
    shape = batch.rows.ids.shape
    found = []
    for matrix, grad in zip(matrices, grads, strict=True):
        x = host.here(inputs[matrix.module]).reshape(*shape, -1).to(dtype)
        d = host.here(grad).reshape(*shape, -1).to(dtype)
        kept = batch.real & (x != 0).any(dim=2) & (d != 0).any(dim=2)
        found.append(TokenGradients(x, d, kept))
    return found
