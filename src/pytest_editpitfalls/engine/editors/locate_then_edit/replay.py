"""Rows of a target-vector optimisation, prepared so that a step runs only what changes.

Lower blocks, and the tokens before the subject's last one, are the same in every step: their hidden states, keys and
values are kept from one pass over the whole rows. The head is read only where a target token is predicted or a KL
row ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_editpitfalls.engine.forward import (
    HEAD_ROWS,
    Forward,
    KeptPrefix,
    Rows,
    columns_from,
    first_tensor,
)
from pytest_editpitfalls.engine.overlay import Overlay

from .edit_rows import EditRow
from .sites import Site, add_to_first, adding, taking


@dataclass
class Group:
    """Rows of nearly equal length that run together; kept prefix and stored hidden states included.

    Tensor shapes: r rows, s suffix columns, p predicted tokens, q KL rows.
    """

    rows: Rows
    kept: KeptPrefix
    hidden: Tensor  # (r, s, hidden): what the first replayed block gets
    job: Tensor  # (r,) the request
    model: Tensor  # (r,) its edited model
    at_row: Tensor  # (p + q,) row of each hidden state that goes through the head: predicted tokens, then KL
    at_column: Tensor  # (p + q,)
    token: Tensor  # (p,)
    weight: Tensor  # (p,) 1 / (templates T)
    kl_base: Tensor | None = None  # (q, vocabulary) log-probabilities at delta = 0

    def without_stopped(self, active: Tensor) -> Group | None:
        """The group without rows of requests that are no longer ``active``; None when nothing is left."""
        keep = active[self.job]
        if bool(keep.all()):
            return self
        if not bool(keep.any()):
            return None
        rows = keep.nonzero()[:, 0]
        renumbered = keep.cumsum(0) - 1
        read = keep[self.at_row]
        predicted, kl = read[: len(self.token)], read[len(self.token) :]
        return Group(
            rows=self.rows.select(rows),
            kept=self.kept.select(rows),
            hidden=self.hidden[rows],
            job=self.job[rows],
            model=self.model[rows],
            at_row=renumbered[self.at_row[read]],
            at_column=self.at_column[read],
            token=self.token[predicted],
            weight=self.weight[predicted],
            kl_base=None if self.kl_base is None else self.kl_base[kl],
        )


@dataclass
class Read:
    """What the head says: of predicted tokens (p,), of KL rows (q, vocabulary), and who is likeliest (p,)."""

    log_p: Tensor
    kl_log_p: Tensor
    hit: Tensor | None


class Replay:
    """Prepares groups of rows and replays them with target vectors added.

    Args:
        forward: the base model.
        overlay: the edited models that answer the rows.
        layer: the block that the sites belong to.
        sites: where vectors are added.
    """

    def __init__(self, forward: Forward, overlay: Overlay, layer: int, sites: Sequence[Site]) -> None:
        self._forward, self._overlay, self._layer, self._sites = forward, overlay, layer, sites
        self._device, self._dtype = forward.host.device, forward.host.edit_dtype
        # Where every vector arrives unchanged in the block's output, the block itself is not replayed.
        self._straight = all(site.goes_straight(forward.host) for site in sites)
        self._first = layer + 1 if self._straight else layer

    @torch.no_grad()
    def prepare(
        self, rows: Sequence[EditRow], model_of: Sequence[int], templates: Sequence[int]
    ) -> tuple[Group, Tensor]:
        """One pass over the whole rows: their group, and (rows, sites, d_o) what the sites give.

        Args:
            rows: of any requests; `EditRow.job` is the number of the request.
            model_of: edited model of each request.
            templates: number of context templates of each request.
        """
        forward, host = self._forward, self._forward.host
        start = torch.tensor([len(row.prefix) for row in rows], device=self._device)
        width = max(len(row.prefix) for row in rows)
        whole = Rows.pad([row.prefix + row.suffix for row in rows], self._device)
        model = torch.tensor([model_of[row.job] for row in rows], device=self._device)
        block = host.blocks[self._layer]
        passing: dict[bool, Tensor] = {}
        cache = KeptPrefix.empty(forward.n_layers)
        with self._overlay.rows(model), ExitStack() as stack:
            for hook in (
                block.register_forward_pre_hook(lambda _m, args: passing.__setitem__(False, args[0])),
                block.register_forward_hook(
                    lambda _m, _a, output: passing.__setitem__(True, first_tensor(output))
                ),
            ):
                stack.callback(hook.remove)
            taken = [
                stack.enter_context(taking(site.module(host, self._layer), start, self._dtype))
                for site in self._sites
            ]
            forward.blocks(whole, cache=cache)
        predicted = [
            (r, c, t) for r, row in enumerate(rows) for c, t in zip(row.columns, row.target, strict=True)
        ]
        read = [(r, c) for r, c, _ in predicted] + [(r, 0) for r, row in enumerate(rows) if not row.target]
        at_row, at_column = torch.tensor(read, device=self._device).reshape(-1, 2).T
        weight = [1 / (len(rows[r].target) * templates[rows[r].job]) for r, _, _ in predicted]
        suffix = Rows.behind(start, width, [row.suffix for row in rows])
        group = Group(
            rows=suffix,
            kept=cache.grown(start, width, first=self._first),
            hidden=columns_from(passing[self._straight], start, suffix.ids.shape[1], dim=1),
            job=torch.tensor([row.job for row in rows], device=self._device),
            model=model,
            at_row=at_row,
            at_column=at_column,
            token=torch.tensor([t for _, _, t in predicted], device=self._device, dtype=torch.long),
            weight=torch.tensor(weight, device=self._device, dtype=self._dtype),
        )
        return group, torch.stack([each.gave for each in taken], dim=1)

    def read(self, group: Group, vectors: Tensor, *, argmax: bool) -> Read:
        """Replay with ``vectors`` (rows, sites, d_o) added, and read the head where it matters."""
        hidden = self._last_hidden(group, vectors)[group.at_row, group.at_column]
        count = len(group.token)
        if len(hidden) > HEAD_ROWS:
            parts = [self._forward.head(part) for part in hidden[:count].split(HEAD_ROWS)]
            kl = self._forward.head(hidden[count:])
        else:
            logits = self._forward.head(hidden)  # one pass over the head's matrix for both
            parts, kl = list(logits[:count].split(HEAD_ROWS)), logits[count:]
        pairs = list(zip(parts, group.token.split(HEAD_ROWS), strict=True))
        log_p = torch.cat([-torch.nn.functional.cross_entropy(x, t, reduction="none") for x, t in pairs])
        hit = torch.cat([x.argmax(dim=1) == t for x, t in pairs]) if argmax else None
        return Read(log_p, kl.log_softmax(dim=1), hit)

    def _last_hidden(self, group: Group, vectors: Tensor) -> Tensor:
        """Hidden states after the last block, vectors added at the first suffix column."""
        forward, rows, hidden = self._forward, group.rows, group.hidden
        with self._overlay.rows(group.model), ExitStack() as stack:
            if self._straight:
                hidden = add_to_first(hidden, vectors.sum(dim=1))
                if self._first == forward.n_layers:
                    return hidden
            else:
                for index, site in enumerate(self._sites):
                    module = site.module(forward.host, self._layer)
                    stack.enter_context(adding(module, vectors[:, index]))
            if self._first == 0:
                return forward.blocks(rows, cache=group.kept)
            return forward.blocks(rows, first=self._first, hidden=hidden, cache=group.kept)
