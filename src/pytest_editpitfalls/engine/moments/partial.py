"""What a pass has summed so far: kept from time to time, so that a stopped pass goes on where it was."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

from .tensor_files import read_tensors, remove, remove_leftovers, write_tensors

SAVE_SECONDS = 180.0
"""Time between two savings of a long pass."""

SAVE_SHARE = 20
"""Saving takes at most one part in so many of the time: a large model's sums take minutes on a slow disk."""

WORTH_SECONDS = 20.0
"""Work that is worth a file when a pass is stopped."""


@dataclass
class KeySums:
    """Sums of k k^T and how far they go.

    Attributes:
        sums: by layer, (d_k, d_k) float64; what lies below the diagonal means nothing yet.
        tokens: tokens in them.
        documents: documents of finished windows.
        batches: batches done of the window after those.
        is_whole: whether all layers have the same tokens: false while a batch is being added.
    """

    sums: dict[int, Tensor]
    tokens: int = 0
    documents: int = 0
    batches: int = 0
    is_whole: bool = True

    @classmethod
    def zero(cls, sizes: Mapping[int, int], device: torch.device) -> KeySums:
        """Nothing summed yet; ``sizes`` is d_k by layer."""
        return cls({layer: torch.zeros(n, n, dtype=torch.float64, device=device) for layer, n in sizes.items()})

    def next_window(self, count: int) -> None:
        """The window is done; ``count`` documents were in it."""
        self.documents, self.batches = self.documents + count, 0


class PartialFile:
    """The file of an unfinished pass. A damaged one counts as absent; one that cannot be written only costs time.

    Args:
        path: its name says everything that the sums and the positions depend on.
        sizes: d_k by layer.
    """

    def __init__(self, path: Path, sizes: Mapping[int, int], device: torch.device) -> None:
        self._path, self._sizes, self._device = path, sizes, device
        self._saved = time.monotonic()
        self._interval = SAVE_SECONDS

    def load(self) -> KeySums | None:
        """What is there, if it is whole."""
        remove_leftovers(self._path)
        if (found := read_tensors(self._path, self._device)) is None:
            return None
        tensors, facts = found
        tokens, documents, batches = (facts.get(name) for name in ("tokens", "documents", "batches"))
        if not (isinstance(tokens, int) and isinstance(documents, int) and isinstance(batches, int)):
            return None
        if min(tokens, documents, batches) < 0:
            return None
        for layer, size in self._sizes.items():
            tensor = tensors.get(str(layer))
            if tensor is None or tensor.shape != (size, size) or tensor.dtype != torch.float64:
                return None
        # Copies: the file, which is mapped into memory, is written again while they grow.
        sums = {layer: tensors[str(layer)].clone() for layer in self._sizes}
        return KeySums(sums, tokens, documents, batches)

    def save_if_due(self, sums: KeySums) -> None:
        """Save, every few minutes."""
        if time.monotonic() - self._saved >= self._interval:
            self._save(sums)

    def discard(self) -> None:
        """The pass is done and its matrices are written."""
        remove(self._path)

    @contextmanager
    def kept(self, sums: KeySums) -> Iterator[None]:
        """Whatever stops the pass inside (Ctrl-C, SIGTERM, no memory, no network): what is summed is saved first."""
        self._saved = time.monotonic()
        with _terminable():
            try:
                yield
            except BaseException:
                if (
                    sums.tokens
                    and sums.is_whole
                    and time.monotonic() - self._saved >= min(WORTH_SECONDS, self._interval)
                ):
                    self._save(sums)
                raise

    def _save(self, sums: KeySums) -> None:
        started = time.monotonic()
        write_tensors(
            self._path,
            {str(layer): tensor for layer, tensor in sums.sums.items()},
            {"tokens": sums.tokens, "documents": sums.documents, "batches": sums.batches},
        )
        self._saved = time.monotonic()
        self._interval = max(SAVE_SECONDS, SAVE_SHARE * (self._saved - started))


class _Terminated(BaseException):
    """SIGTERM came."""


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the process after what is inside has cleaned up, and not at once; only where no handler is set."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except _Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
