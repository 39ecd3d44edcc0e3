"""The pass over a corpus: sums of k k^T of several layers at once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.forward import Forward, Rows
from pytest_editpitfalls.engine.products import exact_products
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback

from .documents import Documents, Window
from .partial import KeySums, PartialFile

STAGE = "second moment"

PRODUCT_TOKENS = 4096
"""Keys that are multiplied in single precision before their sum goes into the double one: the error is that of so many
additions, however long the text is. A double product takes twice as long on a CPU, and 2 to 64 times on a GPU."""

STRIPS = 6
"""k k^T is symmetric: of its rows, cut into so many strips, only the part from the diagonal on is computed, 58 % of
the products. More strips save little and make thin products."""

ESTIMATE_AFTER, LONG = 3.0, 60.0
"""Seconds until a pass says when it will be done, and how long it must still last for that."""


class _Enough(Exception):
    """The last wanted key is read: nothing above it has to run."""


def collect(
    forward: Forward,
    documents: Documents[Any],
    layers: Sequence[int],
    *,
    max_tokens: int,
    file: PartialFile,
    progress: ProgressCallback,
) -> KeySums:
    """Sums of k k^T over all tokens of ``documents``, for each layer, in one pass; goes on where ``file`` stops.

    Documents are read window by window, and sorted by length within one. The numbers of a layer depend on the text
    and (by rounding) on ``max_tokens``, not on the other layers.

    Args:
        layers: whose down-projections' inputs are the keys.
        max_tokens: padded tokens per forward pass.
        file: where the sums are kept from time to time, and when the pass is stopped.
        progress: called with the number of documents done.
    """
    host = forward.host
    sums = file.load() or KeySums.zero({layer: host.matrix_shape(layer)[1] for layer in layers}, host.device)
    pace = _Pace(documents.total, sums.documents, progress)
    with file.kept(sums), _reading(forward, layers) as taken, torch.no_grad():
        for window in documents.windows(sums.documents):
            cut = buckets([len(ids) for ids in window.documents], max_tokens=max_tokens)
            pace.window(window, [i for bucket in cut[: sums.batches] for i in bucket])
            for bucket in cut[sums.batches :]:
                rows = [window.documents[i] for i in bucket]
                with suppress(_Enough):
                    forward.blocks(Rows.pad(rows, host.device), last=max(layers) + 1)
                lengths = torch.tensor([len(ids) for ids in rows])
                sums.is_whole = False
                for layer in layers:
                    add_products(sums.sums[layer], _without_padding(taken.pop(layer), lengths))
                sums.tokens += int(lengths.sum())
                sums.batches += 1
                sums.is_whole = True
                pace.batch(len(bucket), int(lengths.sum()))
                file.save_if_due(sums)
            sums.next_window(window.count)
            pace.window_done(window)
    return sums


def add_products(total: Tensor, keys: Tensor) -> None:
    """Add the sum of k k^T of ``keys`` (n, d_k) to ``total`` (d_k, d_k), float64: on and above the diagonal only.

    Keys of a float64 model are multiplied in float64, all others in float32: the sum is off by about 1e-7 of its norm
    (7e-8 measured on the embedded model; keys in bfloat16 up to 2e-6).
    """
    size = total.shape[0]
    width = -(-size // STRIPS)
    with exact_products(keys):
        for chunk in keys.split(PRODUCT_TOKENS):
            chunk = chunk.to(torch.promote_types(keys.dtype, torch.float32))
            for start in range(0, size, width):
                total[start : start + width, start:] += chunk[:, start : start + width].T @ chunk[:, start:]


def symmetric(total: Tensor) -> Tensor:
    """The whole matrix of a sum by `add_products`."""
    return total.triu() + total.triu(1).T


def _without_padding(keys: Tensor, lengths: Tensor) -> Tensor:
    """Keys (tokens, d_k) of rows padded on the right: (rows, width, d_k), or (rows * width, d_k) as OPT has them."""
    flat = keys.reshape(-1, keys.shape[-1])
    there = (torch.arange(len(flat) // len(lengths)) < lengths[:, None]).flatten()
    if bool(there.all()):
        return flat
    # Picked on the CPU, where the lengths are known: a GPU need not be waited for.
    return flat.index_select(0, there.nonzero()[:, 0].to(keys.device, non_blocking=True))


@contextmanager
def _reading(forward: Forward, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Keys of the last pass by layer; the pass ends with `_Enough` before the topmost down-projection runs."""
    taken: dict[int, Tensor] = {}

    def read(layer: int, key: Tensor) -> None:
        taken[layer] = key
        if layer == max(layers):
            raise _Enough

    hooks = [
        forward.host.down_projection(layer).register_forward_pre_hook(
            lambda _m, args, layer=layer: read(layer, forward.host.here(args[0]))
        )
        for layer in layers
    ]
    try:
        yield taken
    finally:
        for hook in hooks:
            hook.remove()


class _Pace:
    """Reports how many documents are done and, in a long pass, how long it will still take.

    Args:
        total: documents of the text, at most.
        done: documents in windows that were finished before.
        progress: called with both.
    """

    def __init__(self, total: int, done: int, progress: ProgressCallback) -> None:
        self._total, self._done, self._progress = total, done, progress
        self._unseen = total - done  # documents that are in no window yet
        self._seen_documents = self._seen_tokens = 0
        self._left_tokens = self._read_tokens = 0
        self._in_window = 0
        self._started = time.monotonic()

    def window(self, window: Window, before: Sequence[int]) -> None:
        """A window begins, of which the documents ``before`` were done in an earlier run."""
        tokens = sum(map(len, window.documents))
        self._unseen -= window.count
        self._seen_documents += window.count
        self._seen_tokens += tokens
        self._left_tokens = tokens - sum(len(window.documents[i]) for i in before)
        self._in_window = len(before)
        self._tell()

    def batch(self, documents: int, tokens: int) -> None:
        """A batch of the window is done."""
        self._in_window += documents
        self._read_tokens += tokens
        self._left_tokens -= tokens
        self._tell()

    def window_done(self, window: Window) -> None:
        """The window is done, with its empty documents."""
        self._done, self._in_window = self._done + window.count, 0

    def _tell(self) -> None:
        stage, done, elapsed = STAGE, self._done + self._in_window, time.monotonic() - self._started
        if self._read_tokens and elapsed >= ESTIMATE_AFTER:
            # The documents that were read stand for those to come.
            unseen = max(self._unseen, 0) * self._seen_tokens / self._seen_documents
            left = (self._left_tokens + unseen) * elapsed / self._read_tokens
            if left >= LONG:
                rate = self._read_tokens / elapsed
                stage = f"{STAGE} ({rate:.0f} tokens/s, {timedelta(seconds=round(left))} left), documents"
        self._progress(Progress(stage, done, max(self._total, done)))
