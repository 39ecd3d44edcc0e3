"""The target vector of the locate-then-edit family, learnt for many independent requests at once.

    L = mean over templates of -(1/T) sum_t log p(t_t) + kl KL(p_delta || p_0) + wd |delta| / |v_0|^2

with delta in R^{d_o}, from 0, by Adam, added at the subject's last token in every row; projected to
|delta| <= clamp |v_0| after each step; stopped below a total loss of 0.05; the last iteration never steps
(field notes 1; kmeng01/rome rome/compute_v.py, kmeng01/memit memit/compute_z.py).

Requests stay independent: each has its own delta, clamp and stopping mask; batching changes rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.forward import (
    HEAD_ROWS,
    LAUNCH_TOKENS,
    Forward,
    KeptPrefix,
    Rows,
    columns_from,
    first_tensor,
)
from pytest_editpitfalls.engine.overlay import Overlay

from .edit_rows import EditRow

STOP_LOSS = 0.05


@dataclass(frozen=True)
class VectorObjective:
    """Hyper-parameters of the optimisation, by their published names."""

    layer: int
    v_num_grad_steps: int
    v_lr: float
    v_weight_decay: float
    clamp_norm_factor: float
    kl_factor: float


@dataclass(frozen=True)
class TargetVectors:
    """What was learnt for n requests.

    Attributes:
        delta: (n, d_o) float32, the learnt delta.
        bare_key: (n, d_k) the down-projection's input at the subject's last token of the bare prompt.
        mean_key: (n, d_k) the same, averaged over all context templates.
    """

    delta: Tensor
    bare_key: Tensor
    mean_key: Tensor


@dataclass
class _Group:
    """Rows of nearly equal length that run together; kept prefix and stored hidden states included.

    Tensor shapes: r rows, s suffix columns, p predicted tokens, q KL rows.
    """

    rows: Rows
    kept: KeptPrefix
    hidden: Tensor  # (r, s, hidden): what the first replayed block gets
    job: Tensor  # (r,)
    at_row: Tensor  # (p + q,) row of each hidden state that goes through the head: predicted tokens, then KL
    at_column: Tensor  # (p + q,)
    token: Tensor  # (p,)
    weight: Tensor  # (p,) 1 / (templates T)
    kl_base: Tensor | None = None  # (q, vocabulary) log-probabilities at delta = 0


class TargetVectorSearch:
    """One optimisation over a batch of requests.

    Args:
        forward: the base model.
        overlay: the edited models that the requests are written into.
        model_of: (n,) index of each request's edited model in ``overlay``.
        rows: all rows of all requests.
        objective: hyper-parameters.
        max_tokens: padded tokens per forward pass.
    """

    def __init__(
        self,
        forward: Forward,
        overlay: Overlay,
        model_of: Sequence[int],
        rows: Sequence[EditRow],
        objective: VectorObjective,
        *,
        max_tokens: int,
    ) -> None:
        self._forward, self._overlay, self._objective = forward, overlay, objective
        self._device = forward.host.device
        self._model_of = torch.tensor(model_of, device=self._device)
        self._norm_in_between = forward.host.family.norm_after_mlp
        # Where a norm follows the MLP the edited block itself is replayed; else delta is added to its output.
        self._first = objective.layer if self._norm_in_between else objective.layer + 1
        n = len(model_of)
        d_o, d_k = forward.host.matrix_shape(objective.layer)
        self._dtype = forward.host.edit_dtype
        self._value = torch.zeros(n, d_o, device=self._device, dtype=self._dtype)
        self._bare_key = torch.zeros(n, d_k, device=self._device, dtype=self._dtype)
        self._key_sum = torch.zeros_like(self._bare_key)
        templates = [0] * n
        for row in rows:
            templates[row.job] += bool(row.target)
        self._templates = torch.tensor(templates, device=self._device)
        with torch.no_grad():
            self._groups = [
                self._prepare([rows[index] for index in bucket])
                for bucket in buckets(
                    [len(row.suffix) for row in rows],
                    max_tokens=max_tokens,
                    max_waste=0.15,
                    slack=LAUNCH_TOKENS,
                )
            ]

    @torch.enable_grad()
    def run(self, on_step: Callable[[int], None] = lambda _: None) -> TargetVectors:
        """Learn all deltas; ``on_step`` hears the number of the iteration that is over."""
        objective = self._objective
        delta = torch.zeros_like(self._value, requires_grad=True)
        limit = objective.clamp_norm_factor * self._value.norm(dim=1, keepdim=True)
        decay = objective.v_weight_decay / self._value.norm(dim=1).square()
        adam = torch.optim.Adam([delta], lr=objective.v_lr)
        active = torch.ones(len(delta), dtype=torch.bool, device=self._device)
        for step in range(objective.v_num_grad_steps - 1):  # as released, the last iteration never steps
            adam.zero_grad()
            penalty = decay * delta.norm(dim=1)
            penalty.sum().backward()
            loss = penalty.detach()
            for group in self._groups:
                part = self._loss(group, delta)
                part.sum().backward()
                loss = loss + part.detach()
            active &= loss >= STOP_LOSS
            on_step(step)
            if not bool(active.any()):
                break
            frozen = delta.detach().clone()
            adam.step()
            with torch.no_grad():
                norm = delta.norm(dim=1, keepdim=True)
                delta *= torch.where(norm > limit, limit / norm, torch.ones_like(norm))
                delta.copy_(torch.where(active[:, None], delta, frozen))
            if not bool(active.all()):
                self._groups = [
                    kept for group in self._groups if (kept := _drop_stopped(group, active)) is not None
                ]
        return TargetVectors(delta.detach(), self._bare_key, self._key_sum / self._templates[:, None])

    def _prepare(self, rows: list[EditRow]) -> _Group:
        """One pass over the whole rows: keys, values, and everything that stays the same."""
        forward, layer = self._forward, self._objective.layer
        start = torch.tensor([len(row.prefix) for row in rows], device=self._device)
        width = max(len(row.prefix) for row in rows)
        whole = Rows.pad([row.prefix + row.suffix for row in rows], self._device)
        each = torch.arange(len(rows), device=self._device)
        job = torch.tensor([row.job for row in rows], device=self._device)
        taken: dict[str, Tensor] = {}

        def take_projection(_module: object, args: tuple[Tensor, ...], output: Tensor) -> None:
            shape = whole.ids.shape
            taken["key"] = args[0].reshape(*shape, -1)[each, start].to(self._dtype)
            taken["value"] = output.reshape(*shape, -1)[each, start].to(self._dtype)

        block = forward.host.blocks[layer]
        hooks = [
            block.register_forward_pre_hook(lambda _m, args: taken.__setitem__("in", args[0])),
            block.register_forward_hook(
                lambda _m, _a, output: taken.__setitem__("out", first_tensor(output))
            ),
        ]
        cache = KeptPrefix.empty(forward.n_layers)
        with self._overlay.rows(self._model_of[job]):
            # Registered after the overlay's hooks, so that the value is the edited model's.
            hooks.append(forward.host.down_projection(layer).register_forward_hook(take_projection))
            try:
                forward.blocks(whole, cache=cache)
            finally:
                for hook in hooks:
                    hook.remove()
        self._record_keys(rows, taken["key"], taken["value"])
        predicted = [
            (r, c, t) for r, row in enumerate(rows) for c, t in zip(row.columns, row.target, strict=True)
        ]
        read = [(r, c) for r, c, _ in predicted] + [(r, 0) for r, row in enumerate(rows) if not row.target]
        at_row, at_column = torch.tensor(read, device=self._device).reshape(-1, 2).T
        token = torch.tensor([t for _, _, t in predicted], device=self._device, dtype=torch.long)
        weight = torch.tensor(
            [1 / (len(rows[r].target) * int(self._templates[rows[r].job])) for r, _, _ in predicted],
            device=self._device,
            dtype=self._dtype,
        )
        suffix = Rows.behind(start, width, [row.suffix for row in rows])
        hidden = taken["in" if self._norm_in_between else "out"]
        return _Group(
            rows=suffix,
            kept=cache.grown(start, width, first=self._first),
            hidden=columns_from(hidden, start, suffix.ids.shape[1], dim=1),
            job=job,
            at_row=at_row,
            at_column=at_column,
            token=token,
            weight=weight,
        )

    def _record_keys(self, rows: list[EditRow], keys: Tensor, values: Tensor) -> None:
        for index, row in enumerate(rows):
            if row.target:
                self._key_sum[row.job] += keys[index]
            if row.bare:
                self._value[row.job], self._bare_key[row.job] = values[index], keys[index]

    def _loss(self, group: _Group, delta: Tensor) -> Tensor:
        """(n,) this group's share of each request's loss."""
        hidden = self._replay(group, delta[group.job])
        log_p, kl_log_p = self._read(group, hidden[group.at_row, group.at_column])
        total = torch.zeros(len(delta), device=self._device, dtype=self._dtype)
        count = len(group.token)
        total = total.index_add(0, group.job[group.at_row[:count]], -log_p.to(self._dtype) * group.weight)
        if len(kl_log_p) == 0:
            return total
        if group.kl_base is None:
            # The first replay itself, as released: the term and its gradient are then exactly 0 at delta = 0, where
            # Adam's first step would blow any rounding up to its full length.
            group.kl_base = kl_log_p.detach()
        divergence = (kl_log_p.exp() * (kl_log_p - group.kl_base)).sum(dim=1).to(self._dtype)
        return total.index_add(0, group.job[group.at_row[count:]], self._objective.kl_factor * divergence)

    def _read(self, group: _Group, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of each predicted token (p,), and the whole distribution (q, vocabulary) of KL rows."""
        count = len(group.token)
        if len(vectors) > HEAD_ROWS:
            log_p = self._forward.log_probs(vectors[:count], group.token)
            return log_p, self._forward.head(vectors[count:]).log_softmax(dim=1)
        logits = self._forward.head(vectors)  # one pass over the head's matrix for both
        log_p = -torch.nn.functional.cross_entropy(logits[:count], group.token, reduction="none")
        return log_p, logits[count:].log_softmax(dim=1)

    def _replay(self, group: _Group, delta: Tensor) -> Tensor:
        """Hidden states after the last block with each row's delta added at its first suffix column."""
        forward, layer = self._forward, self._objective.layer
        rows, hidden = group.rows, group.hidden
        with self._overlay.rows(self._model_of[group.job]):
            if not self._norm_in_between:
                added = hidden[:, :1] + delta[:, None].to(hidden.dtype)
                hidden = torch.cat([added, hidden[:, 1:]], dim=1)
                if self._first == forward.n_layers:
                    return hidden
                return forward.blocks(rows, first=self._first, hidden=hidden, cache=group.kept)

            def add(_module: object, _args: object, output: Tensor) -> Tensor:
                wide = output.reshape(*rows.ids.shape, -1)
                added = wide[:, :1] + delta[:, None].to(wide.dtype)
                return torch.cat([added, wide[:, 1:]], dim=1).reshape(output.shape)

            hook = forward.host.down_projection(layer).register_forward_hook(add)
            try:
                if self._first == 0:
                    return forward.blocks(rows, cache=group.kept)
                return forward.blocks(rows, first=self._first, hidden=hidden, cache=group.kept)
            finally:
                hook.remove()


def _drop_stopped(group: _Group, active: Tensor) -> _Group | None:
    """The group without rows of requests that have stopped; None when nothing is left."""
    keep = active[group.job]
    if bool(keep.all()):
        return group
    if not bool(keep.any()):
        return None
    rows = keep.nonzero()[:, 0]
    renumbered = keep.cumsum(0) - 1
    read = keep[group.at_row]
    predicted, kl = read[: len(group.token)], read[len(group.token) :]
    return _Group(
        rows=group.rows.select(rows),
        kept=group.kept.select(rows),
        hidden=group.hidden[rows],
        job=group.job[rows],
        at_row=renumbered[group.at_row[read]],
        at_column=group.at_column[read],
        token=group.token[predicted],
        weight=group.weight[predicted],
        kl_base=None if group.kl_base is None else group.kl_base[kl],
    )
