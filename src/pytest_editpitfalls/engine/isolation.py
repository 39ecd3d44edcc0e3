"""Work on many items together, and one by one where something breaks: a broken item harms no other."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from pytest_editpitfalls.errors import PitfallsError, UsageError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
"""What RuntimeErrors say when memory runs out: the CPU's allocator on Linux and on Windows, CUDA, and its libraries."""


ONE_BY_ONE = "done one by one, because together it failed"
"""Note on cases that work alone: the editor fails on the batch, and one by one they take far longer."""


class BatchDoesNotFit(Exception):
    """Memory ran out with several programs together: fewer may fit."""


def isolated(
    work: Callable[[list[Item]], list[Answer]],
    items: list[Item],
    failed: Callable[[Item, str], Answer],
    remark: Callable[[str], None],
    alone: bool,
    raised: Callable[[Item, str, Exception], None],
) -> list[Answer]:
    """``work`` on all items together, and item by item when something breaks.

    Args:
        failed: makes the answer for an item that fails alone.
        remark: called when the items fail together and none of them fails alone.
        alone: whether all of them belong to one program.
        raised: called with what an item raised that fails alone, and the text of it.

    Raises `BatchDoesNotFit` when memory runs out, unless they are ``alone``: a single program cannot be split.
    """
    if not items:
        return []
    try:
        return work(items)
    except UsageError:
        raise
    except Exception as error:
        out_of_memory = is_out_of_memory(error)
        message = str(error) if isinstance(error, PitfallsError) else f"{type(error).__name__}: {error}"
        if len(items) == 1 and not out_of_memory and not isinstance(error, PitfallsError):
            raised(items[0], message, error)
    # Outside the except clause: the traceback's frames would keep the batch's tensors alive.
    if out_of_memory and not alone:
        # The whole program is dropped, with the edited models that it keeps, and not only this step.
        raise BatchDoesNotFit(message)
    if len(items) == 1:
        return [failed(items[0], message)]
    if out_of_memory:
        free_memory()
    broken: list[Item] = []

    def breaks(item: Item, error: str) -> Answer:
        broken.append(item)
        return failed(item, error)

    answers = [answer for item in items for answer in isolated(work, [item], breaks, remark, alone, raised)]
    if not broken and not out_of_memory:
        remark(f"{ONE_BY_ONE}: {message}")
    return answers


def free_memory() -> None:
    """Give up what nothing refers to any more; much is in cycles, which only a search finds."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the CPU or on a GPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
