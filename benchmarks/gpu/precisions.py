"""The precisions that shapes are measured in. Another one is another line."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Precision:
    """How a model is held, and how it multiplies.

    Attributes:
        name: in the figures.
        words: in the tables.
        weights: what the model's weights are converted to; from one line to the next never to more bits, since the
            same model is converted.
        dtype: ``--pitfalls-dtype``; None takes the weights as they are.
        rate: the matrix rate that it is held against (`machine.matrix_rates`).
        reference: whether today's way is measured in it, too; it knows no other precision.
        needs_gpu: whether a CPU has no such thing.
    """

    name: str
    words: str
    weights: torch.dtype
    dtype: str | None
    rate: str
    reference: bool
    needs_gpu: bool

    @property
    def tf32(self) -> bool:
        return self.dtype == "tf32"


PRECISIONS = (
    Precision("tf32", "TF32 products", torch.float32, "tf32", "square_tf32", reference=True, needs_gpu=True),
    Precision("float32", "float32", torch.float32, None, "square_float32", reference=True, needs_gpu=False),
    Precision(
        "bfloat16",
        "model in bfloat16, edits in float32",
        torch.bfloat16,
        None,
        "square_bfloat16",
        reference=False,
        needs_gpu=False,
    ),
)
"""In the order in which they are measured."""


def available(device: str) -> tuple[Precision, ...]:
    """Those that the device has."""
    return tuple(each for each in PRECISIONS if device != "cpu" or not each.needs_gpu)
