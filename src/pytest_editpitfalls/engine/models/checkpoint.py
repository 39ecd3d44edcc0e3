"""What a checkpoint directory says about its weights, without reading a weight: safetensors headers. Torch-free."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

HEADER_BYTES = 100_000_000
"""The most that a safetensors header may have, by the format's own limit."""

_MOST_ELEMENTS = 2**50
_DTYPES = {"BF16": ("bfloat16", 2), "F16": ("float16", 2), "F32": ("float32", 4), "F64": ("float64", 8)}


@dataclass(frozen=True)
class StoredTensor:
    """One floating-point tensor of a checkpoint.

    Attributes:
        shape: its sizes.
        dtype: "bfloat16", "float16", "float32" or "float64".
        elements: product of the sizes.
        bytes: what it takes in the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    elements: int
    bytes: int


def stored_tensors(directory: Path) -> tuple[StoredTensor, ...] | None:
    """The floating-point tensors of a directory's safetensors files; None where there are none or one is damaged.

    Nothing is raised: a damaged checkpoint is for `load` to explain.
    """
    try:
        found: list[StoredTensor] = []
        for name in _files(directory):
            found += map(_tensor, *zip(*_header(directory / name).items(), strict=True))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return tuple(tensor for tensor in found if tensor.elements) or None


def config_of(directory: Path) -> dict[str, Any] | None:
    """The directory's ``config.json``; None where it cannot be read."""
    try:
        values = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _files(directory: Path) -> list[str]:
    if (directory / SINGLE).is_file():  # transformers, too, looks for it first
        return [SINGLE]
    shards = json.loads((directory / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
    names = sorted(set(shards))
    if any(Path(name).name != name for name in names):
        raise ValueError("a shard outside of the directory")
    return names


def _header(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > HEADER_BYTES:
            raise ValueError("not a safetensors file")
        header = json.loads(file.read(size))
    if not isinstance(header, dict):
        raise ValueError("not a safetensors file")
    header.pop("__metadata__", None)
    return header


def _tensor(name: str, entry: Mapping[str, Any]) -> StoredTensor:
    shape = tuple(int(size) for size in entry["shape"])
    dtype, width = _DTYPES.get(entry["dtype"], ("", 0))  # masks and counters are no weights
    elements = math.prod(shape) if dtype else 0
    if min(shape, default=1) < 0 or elements > _MOST_ELEMENTS:
        raise ValueError("not a safetensors file")
    return StoredTensor(name, shape, dtype, elements, elements * width)
