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
        weights: what the model's weights are converted to. The same model is converted from line to line: where they
            get more bits again, they stay as rounded as they are, which does not matter for time.
        dtype: ``--pitfalls-dtype``; None takes the weights as they are.
        rate: the matrix rate that it is held against (`machine.matrix_rates`).
        reference: whether today's way is measured in it, too; it knows no other precision.
        needs_gpu: whether a CPU has no such thing.
        matrices_in_bf16: whether the matrices are then rounded to bfloat16 and all else is left (`bf16-weights`).
    """

    name: str
    words: str
    weights: torch.dtype
    dtype: str | None
    rate: str
    reference: bool
    needs_gpu: bool
    matrices_in_bf16: bool = False

    @property
    def kept(self) -> tuple[torch.dtype, bool]:
        """How the weights are kept."""
        return self.weights, self.matrices_in_bf16

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
    Precision(
        "bf16-weights",
        "matrices in bfloat16, all else in float32",
        torch.float32,
        None,
        "square_bfloat16",
        reference=False,
        needs_gpu=False,
        matrices_in_bf16=True,
    ),
)
"""In the order in which they are measured."""


def available(device: str) -> tuple[Precision, ...]:
    """Those that the device has."""
    return tuple(each for each in PRECISIONS if device != "cpu" or not each.needs_gpu)
