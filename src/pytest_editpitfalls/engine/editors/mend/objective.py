"""The loss that MEND's network is trained with: does the edit reach a rephrasing and leave other text alone?

    L = cedit * -(1/T) sum_t log p_edited(target_t | rephrase) + cloc * mean_t KL(p_base || p_edited on other text)

differentiated through the update by the network's parameters; the base model is frozen, and x and d are constants
(Mitchell et al. 2022, arXiv 2110.11309, equation 5). Blocks below the first edited one cannot change: their output is
computed once for each row and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.hypernetworks.examples import Example, Losses, LowerBlocks, losses_of
from pytest_editpitfalls.engine.overlay import low_rank_hook
from pytest_editpitfalls.engine.token_gradients import Matrix, TargetBatch, TargetRow, TokenGradients, token_gradients

from .network import MendNetwork


class Objective:
    """Losses of batches of examples.

    Args:
        max_tokens: padded tokens per pass.
    """

    def __init__(self, forward: Forward, matrices: Sequence[Matrix], first: int, *, max_tokens: int) -> None:
        self._forward, self._matrices, self._first = forward, matrices, first
        self._lower = LowerBlocks(forward, first, max_tokens=max_tokens)
        self._read: dict[TargetRow, Tensor] = {}

    def gradients(self, examples: Sequence[Example]) -> list[TokenGradients]:
        """What the network is given for each example, at the base model."""
        rows = [example.edit for example in examples]
        batch = TargetBatch.of(rows, self._forward.host.device)
        weight = torch.ones(len(rows), device=self._forward.host.device)
        hidden = self._lower.of([row.ids for row in rows])
        return token_gradients(self._forward, batch, self._matrices, weight, first=self._first, hidden=hidden)

    def losses(self, network: MendNetwork, examples: Sequence[Example], gradients: Sequence[TokenGradients]) -> Losses:
        """Losses of the edited models, with a graph to the network's parameters where gradients are enabled."""
        host, n = self._forward.host, len(examples)
        # Row i and row n + i are asked of example i's edited model.
        asked = [example.rephrase for example in examples] + [example.locality for example in examples]
        batch = TargetBatch.of(asked, host.device)
        hidden = self._lower.of([row.ids for row in asked])
        updates = network.updates(gradients)
        with ExitStack() as stack:
            for matrix, (u, v) in zip(self._matrices, updates, strict=True):
                hook = low_rank_hook(u.repeat(2, 1, 1), v.repeat(2, 1, 1))
                handle = host.module(matrix.module).register_forward_hook(host.hook(hook))
                stack.callback(handle.remove)
            out = self._forward.blocks(batch.rows, first=self._first, hidden=hidden)
        return losses_of(self._forward, batch, out, self._base(asked[n:]))

    def _base(self, rows: Sequence[TargetRow]) -> Tensor:
        """(p, hidden size) input of the base model's head where it predicts the rows' targets; kept for each row."""
        missing = [row for row in dict.fromkeys(rows) if row not in self._read]
        if missing:
            batch = TargetBatch.of(missing, self._forward.host.device)
            hidden = self._lower.of([row.ids for row in missing])
            out = batch.predicting(self._forward.blocks(batch.rows, first=self._first, hidden=hidden))
            self._read.update(zip(missing, out.split([len(row.target) for row in missing]), strict=True))
        return torch.cat([self._read[row] for row in rows])
