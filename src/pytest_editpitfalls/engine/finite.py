"""A checkpoint with NaN or infinity in it is refused when it is loaded: every score would be one, too."""

from __future__ import annotations

import math
from typing import Any

import torch
from safetensors import safe_open

from pytest_editpitfalls.errors import UsageError

from . import models


def check_finite(model: Any, source: models.ModelSource) -> None:
    """One pass over all weights, as fast as memory is read.

    Raises:
        UsageError: a weight has NaN or infinity in it; names the weight and its file.
    """
    for name, weight in model.named_parameters():
        if weight.numel() and not all(math.isfinite(edge) for edge in torch.aminmax(weight)):
            bad = weight.numel() - int(weight.isfinite().sum())
            raise UsageError(
                f"the weight '{name}' has {bad} of {weight.numel()} numbers that are NaN or infinite in "
                f"{str(weight.dtype).removeprefix('torch.')}",
                where=_file_of(name, source),
                fix="fetch or convert the checkpoint again; "
                "if it is intact, its numbers need a wider --pitfalls-dtype (float32, bfloat16)",
            )


def _file_of(name: str, source: models.ModelSource) -> str:
    """The file that the weight is read from, where the checkpoint's own names tell it."""
    directory = models.prepare(source)
    for path in sorted(directory.glob("*.safetensors")) if directory else ():
        with safe_open(path, framework="pt") as file:
            # Checkpoints of a bare transformer lack the model's prefix.
            if any(name == key or name.endswith(f".{key}") for key in file.keys()):  # noqa: SIM118
                return str(path)
    return f"model '{source.name}'"
