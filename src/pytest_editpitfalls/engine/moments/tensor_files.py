"""Tensor files of the cache: written whole or not at all, and checked against their norms when they are read."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

NORM_TOLERANCE = 1e-9
"""Relative: a norm is summed in another order by another number of threads."""


def read_tensors(path: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and facts of a file that `write_tensors` wrote; None where it is absent or damaged.

    A crash of the machine can leave a file of the right length with blocks that were never written: every tensor's
    Frobenius norm is compared with the one that was written.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata()
            facts, norms = json.loads(metadata["facts"]), json.loads(metadata["norms"])
            tensors = {name: file.get_tensor(name) for name in norms}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    if not isinstance(facts, dict):
        return None
    for name, tensor in tensors.items():
        # A comparison with NaN is false: not finite is damaged.
        if not abs(_norm(tensor) - norms[name]) <= NORM_TOLERANCE * norms[name]:
            return None
    return tensors, facts


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bool:
    """Write a file whole or not at all; returns whether it is there. What cannot be kept only costs time.

    Args:
        path: the file; its directory is made.
        tensors: by name, on any device.
        facts: plain JSON types.
    """
    held: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.cpu().contiguous()
        storage = own.untyped_storage().data_ptr()
        held[name] = own.clone() if storage in storages else own  # safetensors refuses two names of one storage
        storages.add(storage)
    metadata = {
        "facts": json.dumps(facts),
        "norms": json.dumps({name: _norm(tensor) for name, tensor in held.items()}),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".tmp")
    except OSError:
        return False
    os.close(handle)
    try:
        save_file(held, temporary, metadata=metadata)
        os.replace(temporary, path)
    except (OSError, SafetensorError):  # safetensors reports a full disk as an error of its own
        remove(Path(temporary))
        return False
    except BaseException:  # Ctrl-C: nothing half-written stays
        remove(Path(temporary))
        raise
    return True


def remove(path: Path) -> None:
    """Remove a file, if it is there and can be removed."""
    with contextlib.suppress(OSError):
        path.unlink()


def remove_leftovers(path: Path) -> None:
    """Remove what writers of ``path`` left when they were killed. Only where no other writer can be at work."""
    with contextlib.suppress(OSError):
        for left in path.parent.glob(f"{path.name}.*.tmp"):
            remove(left)


def _norm(tensor: Tensor) -> float:
    return float(tensor.double().norm())
