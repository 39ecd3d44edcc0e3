"""How many threads this process computes with, for those who do not import torch."""

from __future__ import annotations

import torch


def count() -> int:
    """Threads of one operation."""
    return torch.get_num_threads()


def use(threads: int) -> None:
    """Compute with so many threads from now on."""
    torch.set_num_threads(threads)
