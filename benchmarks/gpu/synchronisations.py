"""How often a piece of work makes the CPU wait for the GPU: until then nothing new is queued, and the GPU runs dry."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pytest_editpitfalls.engine.stopping import Stopping

PLACES = 10
"""Lines of code that are named, those that wait most."""

_SAID = "synchronizing CUDA operation"


def synchronisations(work: Callable[[], object], device: str) -> dict[str, Any]:
    """Run ``work`` and count; slower than without.

    Returns:
        "total" (None on a CPU), "steps" (optimisation steps of target vectors), "per_step" (all that waits, over the
        steps), "where" (line of code -> how often).
    """
    if device == "cpu":
        with _steps() as steps:
            work()
        return {"total": None, "steps": steps[0], "why": "not counted on a CPU"}
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught, _steps() as steps:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    places = Counter(f"{_short(each.filename)}:{each.lineno}" for each in caught if _SAID in str(each.message))
    total = sum(places.values())
    return {
        "total": total,
        "steps": steps[0],
        "per_step": round(total / steps[0], 2) if steps[0] else None,
        "where": dict(places.most_common(PLACES)),
    }


@contextmanager
def _steps() -> Iterator[list[int]]:
    """Counts how often a loop asks which of its jobs still go on: once a step."""
    counted, plain = [0], Stopping.poll

    def poll(self: Stopping) -> Any:
        counted[0] += 1
        return plain(self)

    Stopping.poll = poll  # type: ignore[method-assign]
    try:
        yield counted
    finally:
        Stopping.poll = plain  # type: ignore[method-assign]


def _short(filename: str) -> str:
    parts = Path(filename).parts
    for name in ("pytest_editpitfalls", "transformers", "torch", "benchmarks"):
        if name in parts:
            return "/".join(parts[parts.index(name) :])
    return parts[-1] if parts else filename
