"""Rows that are run again and again with another output at one module, for many independent cases at once.

What lies below the module is run once. Tokens before the first one whose output changes keep their keys and values;
the rest, the *suffix*, is replayed from the module on. Where the module is the MLP's down-projection and no norm
follows it, its output is simply added to the residual stream, so the change is added to the block's stored output and
only the blocks above are run; else the module's own block is run again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.forward import (
    LAUNCH_TOKENS,
    Forward,
    KeptPrefix,
    Rows,
    columns_from,
    first_tensor,
)
from pytest_editpitfalls.engine.overlay import Overlay


@dataclass(frozen=True, slots=True)
class ForcedRow:
    """A prompt and its target, teacher-forced.

    Attributes:
        job: index of the case in its batch, which is also the index of its edited model.
        prompt: token ids.
        target: token ids; empty where nothing is predicted.
        weight: what the row counts in the case's loss.
        start: first column whose output at the module may change.
        part: number of the request in the batch, for losses that are counted per request.
    """

    job: int
    prompt: tuple[int, ...]
    target: tuple[int, ...]
    weight: float = 1.0
    start: int = 0
    part: int = 0

    @property
    def tokens(self) -> tuple[int, ...]:
        """The whole row; the target's last token predicts nothing."""
        return self.prompt + self.target[:-1]


@dataclass
class ReplayGroup:
    """Rows of nearly equal length, in the order of their jobs.

    Tensor shapes: r rows, s suffix columns, p predicted tokens.

    Attributes:
        inputs: (r, s, d_k) what the module gets.
        outputs: (r, s, d_o) what it gives, before any update.
        job: (r,)
        part: (r,) `ForcedRow.part`
        last: (r,) suffix column of the prompt's last token.
    """

    inputs: Tensor
    outputs: Tensor
    job: Tensor
    part: Tensor
    last: Tensor
    rows: Rows
    kept: KeptPrefix | None
    stored: Tensor  # (r, s, hidden): what the first replayed block gets, or what the module's block gave
    at_row: Tensor  # (p,)
    at_column: Tensor
    token: Tensor
    weight: Tensor

    @property
    def prompt(self) -> Tensor:
        """(r, s) whether a column belongs to the prompt."""
        return torch.arange(self.inputs.shape[1], device=self.last.device) <= self.last[:, None]

    def by_job(self, tensor: Tensor) -> Iterator[tuple[int, Tensor]]:
        """``tensor`` (r, ...) cut into the rows of each job, without a copy."""
        jobs, counts = torch.unique_consecutive(self.job, return_counts=True)
        yield from zip(jobs.tolist(), tensor.split(counts.tolist()), strict=True)

    def of(self, active: Tensor) -> ReplayGroup | None:
        """The group without rows of jobs that are not ``active`` (jobs,); None when nothing is left."""
        keep = active[self.job]
        if bool(keep.all()):
            return self
        if not bool(keep.any()):
            return None
        rows = keep.nonzero()[:, 0]
        read = keep[self.at_row]
        return replace(
            self,
            inputs=self.inputs[rows],
            outputs=self.outputs[rows],
            job=self.job[rows],
            part=self.part[rows],
            last=self.last[rows],
            rows=self.rows.select(rows),
            kept=None if self.kept is None else self.kept.select(rows),
            stored=self.stored[rows],
            at_row=(keep.cumsum(0) - 1)[self.at_row[read]],
            at_column=self.at_column[read],
            token=self.token[read],
            weight=self.weight[read],
        )


class Replay:
    """Rows of a batch of cases, prepared for one module.

    Args:
        forward: the base model.
        overlay: the edited models that are edited further; row of job i is answered by model i.
        layer: block that the module is in.
        module: full name of the module.
        rows: all rows of all cases.
        max_tokens: padded tokens per forward pass.
    """

    def __init__(
        self,
        forward: Forward,
        overlay: Overlay,
        layer: int,
        module: str,
        rows: Sequence[ForcedRow],
        *,
        max_tokens: int,
    ) -> None:
        host = forward.host
        self._forward, self._overlay, self._layer = forward, overlay, layer
        self._module = host.module(module)
        self._added = module == host.down_projection_path(layer) and not host.family.norm_after_mlp
        self._device, self._dtype = host.device, host.edit_dtype
        with torch.no_grad():
            self.groups = [
                self._prepare([rows[i] for i in sorted(bucket, key=lambda i: rows[i].job)])
                for bucket in buckets(
                    [len(row.tokens) - row.start for row in rows],
                    max_tokens=max_tokens,
                    max_waste=0.15,
                    slack=LAUNCH_TOKENS,
                )
            ]

    def drop_stopped(self, active: Tensor) -> None:
        """Forget the rows of jobs that are not ``active`` (jobs,)."""
        self.groups = [kept for group in self.groups if (kept := group.of(active)) is not None]

    def loss(self, group: ReplayGroup, update: Tensor, jobs: int) -> Tensor:
        """This group's share (jobs,) of each job's loss: weighted -log p of the target tokens.

        Args:
            update: (r, s, d_o) added to the module's output.
            jobs: number of jobs.
        """
        total = torch.zeros(jobs, device=self._device, dtype=self._dtype)
        if not len(group.token):
            return total
        hidden = self._run(group, update)
        log_p = self._forward.log_probs(hidden[group.at_row, group.at_column], group.token)
        return total.index_add(0, group.job[group.at_row], -log_p.to(self._dtype) * group.weight)

    def _run(self, group: ReplayGroup, update: Tensor) -> Tensor:
        """Hidden states (r, s, hidden) after the last block."""
        forward = self._forward
        with self._overlay.rows(group.job, group.last + 1):
            if self._added:
                hidden = group.stored + update.to(group.stored.dtype)
                if self._layer + 1 == forward.n_layers:
                    return hidden
                return forward.blocks(group.rows, first=self._layer + 1, hidden=hidden, cache=group.kept)

            def add(_module: object, _args: object, output: Tensor) -> Tensor:
                wide = output.reshape(*group.rows.ids.shape, -1)
                return (wide + update.to(wide.dtype)).reshape(output.shape)

            hook = self._module.register_forward_hook(add)
            try:
                stored = group.stored if self._layer else None
                return forward.blocks(group.rows, first=self._layer, hidden=stored, cache=group.kept)
            finally:
                hook.remove()

    def _prepare(self, rows: list[ForcedRow]) -> ReplayGroup:
        forward, device = self._forward, self._device
        start = torch.tensor([row.start for row in rows], device=device)
        job = torch.tensor([row.job for row in rows], device=device)
        prompt = torch.tensor([len(row.prompt) for row in rows], device=device)
        width = max(row.start for row in rows)
        whole = Rows.pad([row.tokens for row in rows], device)
        suffix = Rows.behind(start, width, [row.tokens[row.start :] for row in rows])
        columns = suffix.ids.shape[1]
        taken: dict[str, Tensor] = {}

        def take(_module: object, args: tuple[Tensor, ...], output: Tensor) -> None:
            # Copies: Falcon adds its attention's output to this tensor in place.
            for name, tensor in (("inputs", args[0]), ("outputs", output)):
                wide = tensor.detach().reshape(*whole.ids.shape, -1)
                taken[name] = columns_from(wide, start, columns, dim=1).to(self._dtype)

        def take_stored(name: str, tensor: Tensor) -> None:
            taken[name] = columns_from(tensor, start, columns, dim=1)

        block = forward.host.blocks[self._layer]
        hooks = [
            block.register_forward_pre_hook(lambda _m, args: take_stored("block input", args[0])),
            block.register_forward_hook(lambda _m, _a, out: take_stored("block output", first_tensor(out))),
        ]
        cache = KeptPrefix.empty(forward.n_layers) if width else None
        with self._overlay.rows(job, prompt):
            # Registered after the overlay's hooks, so that the output is the edited model's.
            hooks.append(self._module.register_forward_hook(take))
            try:
                forward.blocks(whole, last=None if width else self._layer + 1, cache=cache)
            finally:
                for hook in hooks:
                    hook.remove()
        first = self._layer + 1 if self._added else self._layer
        predicted = [
            (place, len(row.prompt) - 1 - row.start + t, token, row.weight / len(row.target))
            for place, row in enumerate(rows)
            for t, token in enumerate(row.target)
        ]
        return ReplayGroup(
            inputs=taken["inputs"],
            outputs=taken["outputs"],
            job=job,
            part=self._longs([row.part for row in rows]),
            last=prompt - 1 - start,
            rows=suffix,
            kept=None if cache is None else cache.grown(start, width, first=first),
            stored=taken["block output" if self._added else "block input"],
            at_row=self._longs([p[0] for p in predicted]),
            at_column=self._longs([p[1] for p in predicted]),
            token=self._longs([p[2] for p in predicted]),
            weight=torch.tensor([p[3] for p in predicted], device=device, dtype=self._dtype),
        )

    def _longs(self, values: list[int]) -> Tensor:
        return torch.tensor(values, device=self._device, dtype=torch.long)
