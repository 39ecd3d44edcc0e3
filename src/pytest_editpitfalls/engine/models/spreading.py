"""A model over several GPUs, where it does not fit on one: which module lies where, and what moves between them.

accelerate does both. Blocks stay whole, in their order, and each GPU gets about the same share. What a module is called
with is moved to its device; what it returns stays there until the next one is called (`ModelAdapter.here`). torch is
imported inside the functions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .placement import available_memory, gpu_count

if TYPE_CHECKING:
    import torch

ROOM = 0.1
"""Share of each GPU that weights leave free, for what a pass computes there."""

FINER = 0.05
"""By how much more than its even share a GPU may hold at a time, until all modules have a place: blocks are not cut."""


def several_gpus() -> tuple[torch.device, ...]:
    """The GPUs that torch sees, where there are several; otherwise nothing."""
    import torch

    count = gpu_count() if torch.cuda.is_available() else 0
    return tuple(torch.device("cuda", index) for index in range(count)) if count > 1 else ()


def free_for_weights(devices: Sequence[torch.device], first_keeps: int) -> list[int]:
    """Bytes of each device that weights may take.

    Args:
        first_keeps: bytes that the first one keeps for what is not the model's own: second moments, edits.
    """
    free = [int((1 - ROOM) * available_memory(device)) for device in devices]
    return [max(0, free[0] - first_keeps), *free[1:]]


def device_map(
    skeleton: Any, blocks: str, dtype: torch.dtype, devices: Sequence[torch.device], free: Sequence[int]
) -> dict[str, torch.device] | None:
    """Where each module goes; None where there is too little memory on all of them together.

    Args:
        skeleton: the model, with its weights on the meta device and tied as they are.
        blocks: full name of the list of blocks.
        dtype: of the weights.
        free: bytes of each device that weights may take.
    """
    whole = type(skeleton.get_submodule(blocks)[0]).__name__
    share = sum(each.numel() for each in skeleton.parameters()) * dtype.itemsize / len(devices)
    budget = most = max(free)
    found = _within(free, skeleton, whole, dtype)
    if found is not None:
        budget = int(share)
    while budget < most:
        even = _within([min(each, budget) for each in free], skeleton, whole, dtype)
        if even is not None:
            found = even
            break
        budget += max(1, int(FINER * share))
    return None if found is None else {name: devices[place] for name, place in found.items()}


def _within(limits: Sequence[int], skeleton: Any, whole: str, dtype: torch.dtype) -> dict[str, int] | None:
    """The number of each module's device, blocks whole and in their order; None where they do not fit."""
    from accelerate import infer_auto_device_map

    memory: dict[int | str, int | str] = {**dict(enumerate(limits)), "cpu": 0}
    logger = logging.getLogger("accelerate")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        found = infer_auto_device_map(
            skeleton,
            max_memory=memory,
            no_split_module_classes=[whole],
            dtype=dtype,
        )
    finally:
        logger.setLevel(level)
    return None if {"cpu", "disk"} & set(found.values()) else {name: int(place) for name, place in found.items()}


def spread(model: Any, places: Mapping[str, torch.device]) -> Any:
    """Move each module of a model of the CPU to its place; returns the model."""
    from accelerate import dispatch_model

    return dispatch_model(
        model,
        dict(places),
        main_device=next(iter(places.values())),
        skip_keys=getattr(model, "_skip_keys_device_placement", None),
    )
