"""Random draws that belong to one case: the same whatever batch, order or worker the case comes in."""

from __future__ import annotations

import hashlib

import torch


def generator_of(*names: object) -> torch.Generator:
    """A generator seeded by ``names`` (run seed, case id, step, ...), on the CPU, so that devices agree."""
    digest = hashlib.sha256("\0".join(map(str, names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
