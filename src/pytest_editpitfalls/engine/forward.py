"""Running a part of the model without imitating its code.

For the time of the call, stand-ins replace the blocks that should not run in the model's own list: the first returns
the stored hidden states, the others pass their input on. Masks, rotary positions, norms and
head stay the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer

from .block_probe import first_tensor, probe_blocks
from .model_adapter import ModelAdapter
from .packing import TokenPacking


@dataclass
class Rows:
    """A batch of token rows: kept prefixes, padded on the left, then new tokens, padded on the right.

    So the tokens of a row are contiguous, which sliding windows (they count columns) need. Padding on the right is not
    masked: causality hides it from every real token, and a query that may attend to nothing gives NaN in some
    attention kernels.

    Attributes:
        ids: (rows, new tokens) token ids.
        mask: (rows, kept + new tokens) 0 on the left of a kept prefix, 1 elsewhere.
        positions: (rows, new tokens) position ids.
        real: (rows, new tokens) whether it is a token that matters; padding does not.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor
    real: Tensor

    @cached_property
    def tokens(self) -> Tensor | None:
        """(t,) places of the tokens that matter in the flattened rows; None where all do."""
        return None if bool(self.real.all()) else self.real.flatten().nonzero()[:, 0]

    @classmethod
    def pad(cls, tokens: Sequence[Sequence[int]], device: torch.device) -> Rows:
        """Rows of ``tokens``, nothing kept."""
        return cls.behind(torch.zeros(len(tokens), dtype=torch.long, device=device), 0, tokens)

    @classmethod
    def behind(cls, kept: Tensor, width: int, tokens: Sequence[Sequence[int]]) -> Rows:
        """Rows of new ``tokens`` behind prefixes of ``kept`` (rows,) tokens in ``width`` columns."""
        longest = max(map(len, tokens), default=0)
        ids = torch.tensor([[*row] + [0] * (longest - len(row)) for row in tokens], device=kept.device)
        count = torch.tensor([len(row) for row in tokens], device=kept.device)
        column = torch.arange(longest, device=kept.device)
        new = column < count[:, None]
        old = torch.arange(width, device=kept.device) >= width - kept[:, None]
        mask = torch.cat([old, torch.ones_like(new)], dim=1).long()
        return cls(ids, mask, (kept[:, None] + column) * new, new)

    def select(self, rows: Tensor) -> Rows:
        return Rows(self.ids[rows], self.mask[rows], self.positions[rows], self.real[rows])

    def starts(self, lengths: Tensor, width: int) -> Rows:
        """The first ``lengths`` (rows,) tokens, at most ``width``, of rows before which nothing is kept."""
        real = torch.arange(width, device=lengths.device) < lengths[:, None]
        return Rows(self.ids[:, :width], self.mask[:, :width], self.positions[:, :width], real)


def columns_from(tensor: Tensor, start: Tensor, width: int, *, dim: int) -> Tensor:
    """``width`` columns of ``tensor`` (rows, ...) along ``dim``, from column ``start[row]`` on.

    Columns outside the tensor repeat its edge; the caller treats them as padding.
    """
    index = (start[:, None] + torch.arange(width, device=start.device)).clamp(0, max(tensor.shape[dim] - 1, 0))
    index = index.to(tensor.device)
    shape = [1] * tensor.ndim
    shape[0], shape[dim] = index.shape
    return tensor.gather(dim, index.reshape(shape).expand(*tensor.shape[:dim], width, *tensor.shape[dim + 1 :]))


def rows_of(tensor: Tensor, rows: Tensor) -> Tensor:
    """These rows of keys or values, which lie where their block does."""
    return tensor[rows.to(tensor.device)]


class _KeptLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of a kept prefix; `update` joins new ones to them without growing, unless asked to grow."""

    def __init__(self, length: int, kept: tuple[Tensor, Tensor] | None, grow: bool) -> None:
        super().__init__()
        self.length, self.kept, self.grow = length, kept, grow

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if self.kept is not None:
            key_states = torch.cat([self.kept[0], key_states], dim=-2)
            value_states = torch.cat([self.kept[1], value_states], dim=-2)
        if self.grow:
            self.kept = (key_states, value_states)
        return key_states, value_states

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0


class KeptPrefix(Cache):  # type: ignore[misc]
    """Keys and values of a prefix for every block, used again and again.

    The length is stated, never read off a layer: a model reads it off its first full-attention layer, which a
    stand-in may leave empty. Layers never slide; the mask does, so nothing that a window needs is dropped.

    Args:
        kept: per block (keys, values), each (rows, heads, length, head size), or None where the block does not run.
        length: columns of the prefix.
        grow: keep the keys and values of the next call too (see `grown`).
    """

    def __init__(self, kept: Sequence[tuple[Tensor, Tensor] | None], length: int, *, grow: bool = False) -> None:
        super().__init__(layers=[_KeptLayer(length, each, grow) for each in kept])
        self.length = length

    @classmethod
    def empty(cls, n_layers: int) -> KeptPrefix:
        """A cache that keeps what the next call computes."""
        return cls([None] * n_layers, 0, grow=True)

    @classmethod
    def joined(cls, parts: Sequence[KeptPrefix]) -> KeptPrefix:
        """The rows of all parts, which keep the same blocks, padded on the left to the same columns."""
        width = max(part.length for part in parts)

        def join(tensors: Iterable[tuple[Tensor, int]]) -> Tensor:
            return torch.cat([nn.functional.pad(each, (0, 0, width - length, 0)) for each, length in tensors])

        layers: list[tuple[Tensor, Tensor] | None] = []
        for each in zip(*(part._kept() for part in parts), strict=True):
            held = [(kept, part.length) for kept, part in zip(each, parts, strict=True) if kept is not None]
            layers.append(
                (join((kept[0], n) for kept, n in held), join((kept[1], n) for kept, n in held)) if held else None
            )
        return cls(layers, width)

    def grown(self, lengths: Tensor, width: int, *, rows: Tensor | None = None, first: int = 0) -> KeptPrefix:
        """The first ``lengths`` tokens of each kept row as a prefix that no longer grows, padded on the left.

        Args:
            lengths: (rows,) tokens of each row of the result; the kept rows start at column 0.
            width: columns of the result.
            rows: kept rows to take, all by default; a repeated index repeats a row.
            first: first block whose keys and values are still needed.
        """

        def cut(tensor: Tensor) -> Tensor:
            return columns_from(tensor if rows is None else rows_of(tensor, rows), lengths - width, width, dim=2)

        return self._map(cut, width, first)

    def moved(self, start: Tensor, width: int) -> KeptPrefix:
        """The kept rows from column ``start`` (rows,) on, in ``width`` columns."""
        return self._map(lambda tensor: columns_from(tensor, start, width, dim=2), width, 0)

    def growing(self, rows: Tensor) -> KeptPrefix:
        """These rows of a prefix, keeping what the next call adds."""
        return KeptPrefix(
            [None if each is None else (rows_of(each[0], rows), rows_of(each[1], rows)) for each in self._kept()],
            self.length,
            grow=True,
        )

    def whole(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of every block, all of which ran."""
        return [each for each in self._kept() if each is not None]

    def select(self, rows: Tensor) -> KeptPrefix:
        """These rows of a prefix."""
        return self._map(lambda tensor: rows_of(tensor, rows), self.length, 0)

    def _map(self, change: Callable[[Tensor], Tensor], length: int, first: int) -> KeptPrefix:
        kept = [each if index >= first else None for index, each in enumerate(self._kept())]
        return KeptPrefix([None if each is None else (change(each[0]), change(each[1])) for each in kept], length)

    def _kept(self) -> list[tuple[Tensor, Tensor] | None]:
        return [layer.kept for layer in self.layers]


class _StandIn(nn.Module):
    """Takes a block's place: returns ``stored`` instead of running, or passes its input on."""

    def __init__(self, block: nn.Module, stored: Tensor | None, width: int) -> None:
        super().__init__()
        # Not a submodule: the block must not be found twice in the model.
        object.__setattr__(self, "_block", block)
        self._stored, self._width = stored, width

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        hidden = self._stored
        if hidden is None:
            hidden = args[0] if args else kwargs["hidden_states"]
        return hidden if self._width == 0 else (hidden, *([None] * (self._width - 1)))

    def __getattr__(self, name: str) -> Any:
        # Models read attributes of their blocks (attention_type, ...).
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(object.__getattribute__(self, "_block"), name)


LAUNCH_TOKENS = 32
"""What one more pass over the blocks costs, in tokens: on two CPU cores a matrix product takes about 0.3 ms plus
0.01 ms for each token (measured on the embedded model's shapes)."""

HEAD_ROWS = 512
"""Rows of logits that are held at once."""


class Forward:
    """Runs blocks ``first`` to ``last - 1`` of a model, or only its final norm and head."""

    def __init__(self, host: ModelAdapter) -> None:
        self.host = host
        self.n_layers = len(host.blocks)
        self._packing = TokenPacking(host)
        with self._packing.learning():
            self._widths = probe_blocks(host)

    def blocks(
        self,
        rows: Rows,
        *,
        first: int = 0,
        last: int | None = None,
        hidden: Tensor | None = None,
        cache: KeptPrefix | None = None,
        asked: Tensor | None = None,
    ) -> Tensor:
        """Hidden states after block ``last - 1`` (before the final norm), shape (rows, new tokens, hidden).

        Args:
            rows: what to run; where ``hidden`` is given, its token ids do not matter.
            first: first block that runs; above 0 ``hidden`` (its input) is needed.
            last: one past the last block that runs; all by default.
            cache: the kept prefix of ``rows``, or `KeptPrefix.empty` to keep this one.
            asked: (a,) places in the flattened rows where the result is read, all by default; what stands elsewhere
                means nothing. `Rows.real` tokens matter to these, whether asked for or not.
        """
        last = self.n_layers if last is None else last
        taken: list[Tensor] = []
        if first >= last or (first > 0) != (hidden is not None):
            raise ValueError(f"blocks {first} to {last} need {'stored' if first else 'no stored'} hidden states")
        running = range(first, last)
        with ExitStack() as stack:
            # Before the hook below, so that it sees hooks of others only.
            stack.enter_context(self._packing.of(running, rows.tokens, asked, rows.ids.numel()))
            hook = self.host.blocks[last - 1].register_forward_hook(
                lambda _m, _a, output: taken.append(first_tensor(output))
            )
            stack.callback(hook.remove)
            stack.enter_context(self._standing_in(running, hidden))
            stack.enter_context(self.host.prepacked.of(self.host.blocks[layer] for layer in running))
            self.host.model.base_model(
                input_ids=rows.ids,
                attention_mask=rows.mask,
                position_ids=rows.positions,
                past_key_values=cache,
                use_cache=cache is not None,
            )
        return self.host.here(taken[0])

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (n, vocabulary) of hidden states (n, hidden) that come out of the last block.

        The model's own final norm, head, bias and soft cap are called: each vector is a row of one token.
        """
        count = hidden.shape[0]
        if count == 0:  # some models cannot reshape a batch of no rows
            return hidden.new_zeros(0, self.host.vocabulary, dtype=torch.promote_types(hidden.dtype, torch.float32))
        ids = torch.zeros(count, 1, dtype=torch.long, device=hidden.device)
        with self._standing_in(range(0), hidden[:, None, :]), self.host.prepacked.of([self.host.head]):
            output = self.host.model(
                input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=ids, use_cache=False
            )
        logits: Tensor = self.host.here(output.logits[:, 0, :])
        return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits

    def log_probs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Log-probability (n,) of token ``targets`` (n,) after hidden states (n, hidden)."""
        parts = []
        for vectors, wanted in zip(hidden.split(HEAD_ROWS), targets.split(HEAD_ROWS), strict=True):
            parts.append(-nn.functional.cross_entropy(self.head(vectors), wanted, reduction="none"))
        return torch.cat(parts)

    @contextmanager
    def _standing_in(self, running: range, hidden: Tensor | None) -> Iterator[None]:
        blocks = self.host.blocks
        own = list(blocks)  # read again: an in-place editor may have put another block there
        try:
            for index, block in enumerate(own):
                if index not in running:
                    blocks[index] = _StandIn(block, hidden if index == 0 else None, self._widths[index])
            yield
        finally:
            for index, block in enumerate(own):
                blocks[index] = block
