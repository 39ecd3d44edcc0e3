"""How near two texts are to the base model: cosine of mean hidden states."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.forward import LAUNCH_TOKENS, Forward, Rows

NAME = "mean_hidden_state"


class MeanHiddenState:
    """Vectors of texts: the base model's hidden states after the middle block, averaged over the text's tokens.

    The first token is left out where there are others: in most models it collects attention, and its huge hidden
    state would make all texts alike.

    Args:
        forward: the base model.
        max_tokens: padded tokens per forward pass.
    """

    def __init__(self, forward: Forward, *, max_tokens: int) -> None:
        self._forward, self._max_tokens = forward, max_tokens
        self.blocks = max(1, forward.n_layers // 2)

    @torch.no_grad()
    def vectors(self, texts: Sequence[str], on_done: Callable[[int], None] = lambda _: None) -> Tensor:
        """(texts, hidden) unit vectors in float64; ``on_done`` is called with the number done."""
        host = self._forward.host
        ids = [host.encoder.prompt(text) for text in texts]
        found: dict[int, Tensor] = {}
        for bucket in buckets([len(row) for row in ids], max_tokens=self._max_tokens, slack=LAUNCH_TOKENS):
            rows = Rows.pad([ids[index] for index in bucket], host.device)
            hidden = self._forward.blocks(rows, last=self.blocks).double()
            for row, index in zip(hidden, bucket, strict=True):
                count = len(ids[index])
                found[index] = row[min(1, count - 1) : count].mean(dim=0)
            on_done(len(found))
        return torch.nn.functional.normalize(torch.stack([found[index] for index in range(len(ids))]), dim=1)


def ranking(queries: Tensor, pool: Tensor) -> list[int]:
    """Indices of ``pool`` (n, hidden), nearest first, by the greatest cosine with any of ``queries`` (q, hidden).

    Rounded, so that batches of another size rank alike; ties keep the pool's order.
    """
    score = (pool @ queries.T).amax(dim=1).mul(1e5).round()
    return [int(index) for index in score.argsort(descending=True, stable=True)]
