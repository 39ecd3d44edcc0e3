"""What numbers depend on besides an editor, as plain JSON types."""

from __future__ import annotations

import platform
from dataclasses import asdict, replace
from math import prod
from typing import Any

import torch
import transformers

from .matrices import matrix_shape
from .model_adapter import ModelAdapter
from .models.quantising import described
from .quantised import quantised_modules


def described_model(host: ModelAdapter, *, name: str, label: str, fingerprint: str, dtype: str) -> dict[str, Any]:
    """Return the facts of a model.

    Args:
        name: as the user named it.
        label: what results call it.
        fingerprint: of config, tokenizer and weights.
        dtype: what its products are computed in.
    """
    family = host.family
    quantised = described(host.model.config)
    declaration = asdict(replace(family, origin="")) if family.origin else None
    return {
        "name": name,
        "label": label,
        "fingerprint": fingerprint,
        "architecture": type(host.model).__name__,
        "family": family.name,
        **({"declared_by": family.origin, "declaration": declaration} if family.origin else {}),
        "layers": host.n_layers,
        "parameters": _parameters(host.model),
        "dtype": dtype,
        **({"quantisation": quantised, "computed_in": str(host.dtype).removeprefix("torch.")} if quantised else {}),
        "device": _device_name(host),
    }


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    return {
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def _device_name(host: ModelAdapter) -> str:
    device = host.device
    name = f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
    return f"{name} and {len(host.devices) - 1} more" if host.is_spread else name


def _parameters(model: Any) -> int:
    """How many numbers the weights stand for: those of 4 bits are packed by twos."""
    packed = {id(module.weight): module for _, module in quantised_modules(model)}
    return sum(prod(matrix_shape(packed[id(p)])) if id(p) in packed else p.numel() for p in model.parameters())
