"""The upper blocks, run again and again from stored hidden states, with another output at some modules of one block.

What lies below the block is run once. Tokens before the first one whose output changes (the *prefix*) keep their keys
and values; only the rest, the *suffix*, is run again from the block on. Where all that is added arrives unchanged in
the block's output, it is added to that stored output and only the blocks above are run; otherwise the block itself is
run again. Rows of many jobs run together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from .block_probe import first_tensor
from .bucketing import buckets
from .forward import LAUNCH_TOKENS, Forward, KeptPrefix, Rows, columns_from
from .model_adapter import ModelAdapter
from .overlay import Overlay

MAX_WASTE = 0.5
"""Share of padding in a group. It costs attention only (`packing`), while rows that run together make fuller passes."""

OutputChange = Callable[[Tensor], Tensor]
"""(rows, suffix columns, d_o) a module's output -> the same, changed. May require gradients."""


def adding(update: Tensor) -> OutputChange:
    """Adds ``update`` (rows, suffix columns, d_o) to the output, in the output's precision and on its device."""
    return lambda output: output + update.to(output)


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompt and its target, teacher-forced.

    Attributes:
        job: what the row belongs to; losses are summed by job.
        prompt: token ids.
        target: token ids; empty where nothing is predicted.
        weight: what the negative log-probability of each target token counts in the job's loss.
        start: first column whose output at the changed modules may differ; one of the prompt's.
    """

    job: int
    prompt: tuple[int, ...]
    target: tuple[int, ...]
    weight: float
    start: int = 0

    @property
    def tokens(self) -> tuple[int, ...]:
        """The whole row; the target's last token predicts nothing."""
        return self.prompt + self.target[:-1]

    @property
    def prefix(self) -> tuple[int, ...]:
        return self.tokens[: self.start]

    @property
    def suffix(self) -> tuple[int, ...]:
        return self.tokens[self.start :]


@dataclass
class Captured:
    """Inputs (rows, columns, d_in) and outputs (rows, columns, d_out) of a module in some columns of each row."""

    inputs: Tensor
    outputs: Tensor


@contextmanager
def capturing(module: nn.Module, start: Tensor, columns: int, dtype: torch.dtype) -> Iterator[Captured]:
    """While open, the result holds the last call's input and output in ``columns`` columns of each row.

    Open it after `Overlay.rows`, so that it sees the edited model's outputs.

    Args:
        module: a block or a part of one.
        start: (rows,) first column of each row.
        columns: number of columns; those outside the row repeat its edge.
        dtype: precision of the result.
    """
    captured = Captured(torch.empty(0), torch.empty(0))

    def cut(tensor: Tensor) -> Tensor:
        # A model may flatten (rows, tokens) before its MLP (OPT). Gathering copies: Falcon adds to outputs in place.
        wide = tensor.detach().reshape(len(start), -1, tensor.shape[-1])
        return columns_from(wide, start, columns, dim=1).to(start.device, dtype)

    def capture(_module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        captured.inputs, captured.outputs = cut(args[0]), cut(first_tensor(output))

    handle = module.register_forward_hook(capture)
    try:
        yield captured
    finally:
        handle.remove()


@dataclass
class RowGroup:
    """Rows of nearly equal length that run together.

    Tensor shapes: r rows, s suffix columns, p predicted tokens, q rows without a target.

    Attributes:
        captured: of each changed module, its inputs (r, s or 1, d_k) and outputs (r, s or 1, d_o) before any change.
        index: (r,) place of each row in the sequence that was given.
        job: (r,) `PromptRow.job`
        last: (r,) suffix column of the prompt's last token.
        at_row: (p,) row of the hidden state that predicts each target token.
        at_column: (p,) its suffix column.
        token: (p,) the target tokens.
        weight: (p,) `PromptRow.weight`
        ends: (q,) the rows without a target.
        reference: (q, vocabulary) what the caller compares the ends with, if anything; it is set by the caller.
    """

    captured: list[Captured]
    index: Tensor
    job: Tensor
    last: Tensor
    at_row: Tensor
    at_column: Tensor
    token: Tensor
    weight: Tensor
    ends: Tensor
    rows: Rows
    kept: KeptPrefix | None
    stored: Tensor  # (r, s, hidden): the block's input, or its output where only the blocks above are run
    model: Tensor  # (r,) the edited model that answers
    reference: Tensor | None = None

    @cached_property
    def asked(self) -> Tensor:
        """Places in the flattened (r * s): where a target token is predicted, and where a row without one ends."""
        row, column = torch.cat([self.at_row, self.ends]), torch.cat([self.at_column, self.last[self.ends]])
        return row * self.rows.ids.shape[1] + column

    @property
    def job_of_token(self) -> Tensor:
        """(p,)"""
        return self.job[self.at_row]

    def nll(self, log_p: Tensor, jobs: int, factor: Tensor | None = None) -> Tensor:
        """This group's share (jobs,) of each job's loss: weighted -log p of the target tokens.

        Args:
            log_p: (p,) log-probabilities of the target tokens.
            jobs: number of jobs.
            factor: (jobs,) multiplies the weights.
        """
        job = self.job_of_token
        weight = self.weight if factor is None else self.weight * factor[job]
        return weight.new_zeros(jobs).index_add(0, job, -log_p.to(weight.dtype) * weight)

    def of(self, active: Tensor) -> RowGroup | None:
        """The group without rows of jobs that are not ``active`` (jobs,); None when nothing is left."""
        keep = active[self.job]
        if bool(keep.all()):
            return self
        if not bool(keep.any()):
            return None
        rows = keep.nonzero()[:, 0]
        renumbered = keep.cumsum(0) - 1
        read, ends = keep[self.at_row], keep[self.ends]
        return replace(
            self,
            captured=[Captured(each.inputs[rows], each.outputs[rows]) for each in self.captured],
            index=self.index[rows],
            job=self.job[rows],
            last=self.last[rows],
            at_row=renumbered[self.at_row[read]],
            at_column=self.at_column[read],
            token=self.token[read],
            weight=self.weight[read],
            ends=renumbered[self.ends[ends]],
            rows=self.rows.select(rows),
            kept=None if self.kept is None else self.kept.select(rows),
            stored=self.stored[rows],
            model=self.model[rows],
            reference=None if self.reference is None else self.reference[ends],
        )


class UpperBlocks:
    """Rows of a batch of jobs, prepared for some modules of one block.

    Args:
        overlay: the edited models that are edited further.
        model_of: (jobs,) index of each job's edited model in ``overlay``.
        layer: the block.
        modules: the block itself, or projections of it, which return bare tensors.
        rows: all rows of all jobs.
        max_tokens: padded tokens per forward pass.
        by_job: whether the rows of a group stand in the order of their jobs.
        first_only: whether only the first suffix column of the modules' inputs and outputs is captured.

    Attributes:
        groups: the rows of jobs that have not been dropped.
    """

    def __init__(
        self,
        forward: Forward,
        overlay: Overlay,
        model_of: Sequence[int],
        layer: int,
        modules: Sequence[nn.Module],
        rows: Sequence[PromptRow],
        *,
        max_tokens: int,
        by_job: bool = False,
        first_only: bool = False,
    ) -> None:
        host = forward.host
        self._forward, self._overlay, self._layer, self._modules = forward, overlay, layer, modules
        self._straight = all(_goes_straight(host, layer, module) for module in modules)
        self._first = layer + 1 if self._straight else layer
        self._device, self._dtype = host.device, host.edit_dtype
        self.groups: list[RowGroup] = []
        for bucket in buckets(
            [len(row.suffix) for row in rows], max_tokens=max_tokens, max_waste=MAX_WASTE, slack=LAUNCH_TOKENS
        ):
            index = sorted(bucket, key=lambda i: rows[i].job) if by_job else bucket
            self.groups.append(self._prepare(index, [rows[i] for i in index], model_of, first_only))

    def drop_stopped(self, active: Tensor) -> None:
        """Forget the rows of jobs that are not ``active`` (jobs,)."""
        self.groups = [kept for group in self.groups if (kept := group.of(active)) is not None]

    def loss(self, group: RowGroup, changes: Sequence[OutputChange], jobs: int) -> Tensor:
        """`RowGroup.nll` (jobs,) with one change for each module; no pass where nothing is predicted."""
        if not len(group.token):
            return group.weight.new_zeros(jobs)
        hidden = self.last_hidden(group, changes)
        log_p = self._forward.log_probs(hidden[group.at_row, group.at_column], group.token)
        return group.nll(log_p, jobs)

    def last_hidden(self, group: RowGroup, changes: Sequence[OutputChange]) -> Tensor:
        """Hidden states (r, s, hidden) after the last block, with one change for each module.

        They are only meaningful at the places in `RowGroup.asked`.
        """
        forward, hidden = self._forward, group.stored
        with self._overlay.rows(group.model, group.last + 1), ExitStack() as stack:
            for module, change in zip(self._modules, changes, strict=True):
                if self._straight:
                    hidden = change(hidden)
                else:
                    stack.enter_context(_changing(module, change, len(group.job)))
            if self._first == forward.n_layers:
                return hidden
            stored = hidden if self._first else None
            return forward.blocks(group.rows, first=self._first, hidden=stored, cache=group.kept, asked=group.asked)

    @torch.no_grad()
    def _prepare(
        self, index: Sequence[int], rows: Sequence[PromptRow], model_of: Sequence[int], first_only: bool
    ) -> RowGroup:
        """Whole rows up to the block; from there on prefixes only, whose keys and values are kept."""
        forward, host = self._forward, self._forward.host
        block = host.blocks[self._layer]
        start = self._longs(row.start for row in rows)
        prompt = self._longs(len(row.prompt) for row in rows)
        model = self._longs(model_of[row.job] for row in rows)
        width = max(row.start for row in rows)
        suffix = Rows.behind(start, width, [row.suffix for row in rows])
        columns = suffix.ids.shape[1]
        whole = Rows.pad([row.tokens for row in rows], self._device)
        block_input: list[Tensor] = []
        cache = KeptPrefix.empty(forward.n_layers) if width else None
        with self._overlay.rows(model, prompt), ExitStack() as stack:
            if not self._straight:
                handle = block.register_forward_pre_hook(lambda _m, args: block_input.append(host.here(args[0])))
                stack.callback(handle.remove)
            captured = [
                stack.enter_context(capturing(module, start, 1 if first_only else columns, self._dtype))
                for module in self._modules
            ]
            above = self._layer + 1
            block_output = forward.blocks(whole, last=above, cache=cache)
            if width and above < forward.n_layers:
                # Nothing of the last block is read but its keys and values.
                forward.blocks(
                    whole.starts(start, width),
                    first=above,
                    hidden=block_output[:, :width],
                    cache=cache,
                    asked=start.new_zeros(0),
                )
        predicted = [
            (place, len(row.prompt) - 1 - row.start + nth, token, row.weight)
            for place, row in enumerate(rows)
            for nth, token in enumerate(row.target)
        ]
        return RowGroup(
            captured=captured,
            index=self._longs(index),
            job=self._longs(row.job for row in rows),
            last=prompt - 1 - start,
            at_row=self._longs(p[0] for p in predicted),
            at_column=self._longs(p[1] for p in predicted),
            token=self._longs(p[2] for p in predicted),
            weight=torch.tensor([p[3] for p in predicted], device=self._device, dtype=self._dtype),
            ends=self._longs(place for place, row in enumerate(rows) if not row.target),
            rows=suffix,
            kept=None if cache is None else cache.grown(start, width, first=self._first),
            stored=columns_from(block_output if self._straight else block_input[0], start, columns, dim=1),
            model=model,
        )

    def _longs(self, values: Iterable[int]) -> Tensor:
        return torch.tensor(list(values), device=self._device, dtype=torch.long)


def _goes_straight(host: ModelAdapter, layer: int, module: nn.Module) -> bool:
    """Whether what is added to the module's output arrives unchanged in the block's, so that it need not run."""
    family = host.family
    if module is host.blocks[layer]:
        return True
    if family.mixture or family.norm_after_mlp or family.mlp_factor != 1:
        return False
    return module is host.down_projection(layer)


@contextmanager
def _changing(module: nn.Module, change: OutputChange, rows: int) -> Iterator[None]:
    """While open, in a pass over that many ``rows``, ``change`` is applied to the module's output."""

    def hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return change(output.reshape(rows, -1, output.shape[-1])).reshape(output.shape)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
