"""What numbers depend on besides an editor, as plain JSON types."""

from __future__ import annotations

import platform
from dataclasses import asdict, replace
from typing import Any

import torch
import transformers

from .model_adapter import ModelAdapter


def described_model(host: ModelAdapter, *, name: str, label: str, fingerprint: str, dtype: str) -> dict[str, Any]:
    """Return the facts of a model.

    Args:
        name: as the user named it.
        label: what results call it.
        fingerprint: of config, tokenizer and weights.
        dtype: what its products are computed in.
    """
    family = host.family
    declaration = asdict(replace(family, origin="")) if family.origin else None
    return {
        "name": name,
        "label": label,
        "fingerprint": fingerprint,
        "architecture": type(host.model).__name__,
        "family": family.name,
        **({"declared_by": family.origin, "declaration": declaration} if family.origin else {}),
        "layers": host.n_layers,
        "parameters": sum(p.numel() for p in host.model.parameters()),
        "dtype": dtype,
        "device": _device_name(host.device),
    }


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    return {
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def _device_name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
