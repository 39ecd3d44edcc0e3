"""Measures what one batch takes: at its peak, between two passes, and how large its largest pass is.

On a GPU the allocator counts exactly. On a CPU torch counts nothing, and what it has freed stays with the process: what
lies between passes is read off the living tensors, the peak off the process's own memory, which a thread looks at. What
was freed before goes back to the system first (glibc): a process does not grow when it uses that again.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol

import psutil
import torch
from torch import nn

INTERVAL = 0.005
"""Seconds between two looks at the process's memory: a pass takes tens of milliseconds, a look some microseconds."""


class _Peak:
    """Bytes, above what was there before."""

    value = 0


class _Memory(Protocol):
    """What can be asked of a device's memory."""

    counts: bool
    """Whether `living` is known without a search."""

    def living(self) -> int:
        """Bytes that tensors take now."""

    def peak(self) -> AbstractContextManager[_Peak]:
        """While open, the most that is taken is watched."""


class MemoryMeter:
    """Measures one batch, as a context manager around it. All bytes are above what was there before.

    Args:
        base_model: the model's blocks, without the head: every pass calls it.
        devices: where it lies; what all of them take is added up.

    Attributes:
        between: the most that lay between two passes, as `look` has seen it.
        peak: the most at all; known when the context has been left.
        tokens: padded tokens of the largest pass.
    """

    def __init__(self, base_model: nn.Module, devices: Sequence[torch.device]) -> None:
        self._base_model = base_model
        self._memory: _Memory = _CudaMemory(devices) if devices[0].type == "cuda" else _HostMemory()
        self._before = self._looks = 0
        self.between = self.peak = self.tokens = 0

    @contextmanager
    def open(self) -> Iterator[MemoryMeter]:
        """Measure what runs inside."""
        hook = self._base_model.register_forward_pre_hook(self._count, with_kwargs=True)
        self._before = self._memory.living()
        try:
            with self._memory.peak() as peak:
                yield self
        finally:
            hook.remove()
        self.peak = peak.value

    def look(self, always: bool = False) -> None:
        """Look at the memory between two passes. Where that takes a search, only calls number 1, 2, 4, 8, ... do so.

        Args:
            always: look in any case.
        """
        self._looks += 1
        if always or self._memory.counts or self._looks & (self._looks - 1) == 0:
            self.between = max(self.between, self._memory.living() - self._before)

    def _count(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if isinstance(ids, torch.Tensor):
            self.tokens = max(self.tokens, ids.numel())


class _CudaMemory:
    counts = True

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._devices = devices

    def living(self) -> int:
        return sum(int(torch.cuda.memory_allocated(device)) for device in self._devices)

    @contextmanager
    def peak(self) -> Iterator[_Peak]:
        peak, before = _Peak(), self.living()
        for device in self._devices:
            torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.value = sum(int(torch.cuda.max_memory_allocated(device)) for device in self._devices) - before


class _HostMemory:
    counts = False

    def __init__(self) -> None:
        self._process = psutil.Process()

    def living(self) -> int:
        """Every storage once. Takes a tenth of a second: all of Python's objects are looked through."""
        sizes: dict[int, int] = {}
        for each in gc.get_objects():
            if issubclass(type(each), torch.Tensor) and each.device.type == "cpu":
                # Sparse and wrapping tensors have no storage.
                with suppress(RuntimeError, NotImplementedError):
                    storage = each.untyped_storage()
                    sizes[storage.data_ptr()] = storage.nbytes()
        return sum(sizes.values())

    @contextmanager
    def peak(self) -> Iterator[_Peak]:
        _return_freed_memory()
        peak, before, ended = _Peak(), self._resident(), threading.Event()

        def watch() -> None:
            while True:
                peak.value = max(peak.value, self._resident() - before)
                if ended.wait(INTERVAL):
                    return

        thread = threading.Thread(target=watch, name="editpitfalls-memory", daemon=True)
        thread.start()
        try:
            yield peak
        finally:
            ended.set()
            thread.join()

    def _resident(self) -> int:
        """What this process has in memory for itself: pages of the model's file are not among them (Linux)."""
        info = self._process.memory_info()
        return int(info.rss - getattr(info, "shared", 0))


def _return_freed_memory() -> None:
    """Give freed memory back to the system where the C library has a call for it."""
    if sys.platform.startswith("linux"):
        with suppress(OSError, AttributeError):  # musl has no such function
            ctypes.CDLL(None).malloc_trim(0)
