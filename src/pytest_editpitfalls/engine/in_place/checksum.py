"""Bits of tensors: shared copies, comparison and checksums."""

from __future__ import annotations

import torch
from torch import Tensor

_ROW = 4096


def copy_on_write(tensor: Tensor) -> Tensor:
    """A copy that shares the memory until one of the two is written; a full one where torch cannot do that."""
    try:
        return torch._lazy_clone(tensor)
    except (RuntimeError, NotImplementedError, AttributeError):
        return tensor.clone()


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether both hold the same bits (NaN equals itself, 0 is not -0). They have one shape, dtype and device."""
    if _address(one) == _address(other) and one.stride() == other.stride():
        return True
    return torch.equal(_bytes(one), _bytes(other))


def checksums(tensors: list[Tensor]) -> list[int]:
    """An integer for each: words of 64 bits added up row by row, rows weighted by their place (modulo 2**64)."""
    if not tensors:
        return []
    sums = [_checksum(tensor) for tensor in tensors]
    by_device: dict[torch.device, list[int]] = {}
    for index, value in enumerate(sums):
        by_device.setdefault(value.device, []).append(index)
    found = [0] * len(sums)
    for indices in by_device.values():
        for index, number in zip(indices, torch.stack([sums[i] for i in indices]).tolist(), strict=True):
            found[index] = number
    return found


def _checksum(tensor: Tensor) -> Tensor:
    data = _bytes(tensor)
    whole = len(data) // 8 * 8
    try:
        words = data[:whole].view(torch.int64)
    except RuntimeError:  # it does not start at a multiple of 8 bytes
        words = data[:whole].clone().view(torch.int64)
    rows = len(words) // _ROW
    parts = torch.cat(
        [
            words[: rows * _ROW].reshape(rows, _ROW).sum(dim=1),
            words[rows * _ROW :].sum()[None],
            data[whole:].sum(dtype=torch.int64)[None],
        ]
    )
    return (parts * (2 * torch.arange(len(parts), device=parts.device) + 1)).sum()


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _address(tensor: Tensor) -> int | None:
    """Where the data begins, read without making a shared copy one of its own; None where nothing can be said."""
    address = torch._C._data_address(tensor) if hasattr(torch._C, "_data_address") else None
    return address or None


def is_shared(one: Tensor, other: Tensor) -> bool:
    """Whether both still share their memory."""
    return _address(one) is not None and _address(one) == _address(other)
