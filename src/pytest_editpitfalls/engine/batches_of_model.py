"""How many cases of each editor run together on one model, and how much memory there is for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from . import models
from .batch_size.automatic import BatchSize, Limits
from .batch_size.memory_model import Shape
from .editing.declaration import EditorDeclaration
from .model_adapter import ModelAdapter
from .settings import EngineSettings, chunk_size

CPU_TOKENS, GPU_TOKENS = 768, 16384
"""The most padded tokens per forward pass: on a CPU enough to fill the matrix units, on a GPU to hide launches."""

CPU_SCORING = 4
"""Scoring has no gradients, so its passes take that many times the tokens on a CPU.

Measured with 16 reverse cases, 0.81 s a case at 1, 0.71 at 2, 0.67 at 4. Long passes waste less at their ends."""


class BatchSizes:
    """The batch size of each editor, made when it is first needed, so that it sees the memory that the model has left.

    Attributes:
        most_tokens: padded tokens that one pass of the model has at most.
    """

    def __init__(self, host: ModelAdapter, settings: EngineSettings, announce: Callable[[str], None]) -> None:
        self._host, self._settings, self._announce = host, settings, announce
        self.most_tokens = CPU_TOKENS if host.device.type == "cpu" else GPU_TOKENS
        self._known: dict[str, BatchSize] = {}

    def of(self, name: str, declaration: EditorDeclaration) -> BatchSize:
        """Return that of an editor, the same object every time."""
        if name not in self._known:
            host, asked = self._host, self._settings.batch_size
            fixed = None if asked is None else (asked, "as asked for")
            if declaration.form == "in place":
                fixed = (1, "there is one model object to edit in place")
            walls, key = self._settings.walls, (self._settings.model, name)
            self._known[name] = BatchSize(
                Limits(
                    shape_of(host),
                    host.devices,
                    most_cases=chunk_size(asked, host.device.type == "cuda"),
                    most_tokens=self.most_tokens,
                    free=self.free_memory,
                    whole_matrices=declaration.whole_matrices,
                ),
                host.model.base_model,
                fixed=fixed,
                announce=lambda text: self._announce(f"{name}: {text}"),
                tell=partial(walls.tell, key),
                told=partial(walls.told, key),
            )
        return self._known[name]

    def scoring_tokens(self, tokens: int) -> int:
        """Return the tokens of a pass that scores, of those that one with gradients has."""
        return tokens * (CPU_SCORING if self._host.device.type == "cpu" else 1)

    def free_memory(self) -> int:
        """Bytes that this process may count on, its share of them where others are there, too.

        Of a model on several devices those of the fullest: what a batch takes is counted as if all of it lay there.
        """
        return min(map(self._free, self._host.devices))

    def _free(self, device: torch.device) -> int:
        free, processes = models.available_memory(device), self._settings.processes
        if device.type == "cuda":  # what torch holds for further tensors is not free for other processes
            kept = torch.cuda.memory_reserved(device)
            kept -= torch.cuda.memory_allocated(device)
            return free // processes + kept
        return free // processes


def shape_of(host: ModelAdapter) -> Shape:
    """Return what of a model its memory depends on."""
    d_model, d_k = host.widths
    return Shape(host.n_layers, d_model, d_k, host.vocabulary, host.edit_dtype.itemsize)
