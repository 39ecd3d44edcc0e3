"""How many threads this process computes with, for those who do not import torch."""

from __future__ import annotations

import os

import torch

from pytest_editpitfalls.cores import threads_given, usable_cores


def count() -> int:
    """Threads of one operation."""
    return torch.get_num_threads()


def use(threads: int) -> None:
    """Compute with so many threads from now on."""
    torch.set_num_threads(threads)


def keep_to_cores() -> None:
    """Compute with no more threads than there are cores for this process, where the user has set no number.

    torch counts the machine's cores: in a container with two processors of 64 it would start 64 threads.
    """
    if threads_given(os.environ) is None and torch.get_num_threads() > (most := usable_cores().count):
        torch.set_num_threads(most)
