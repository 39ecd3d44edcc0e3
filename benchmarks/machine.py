"""The machine that measures: what it is, and how fast it multiplies matrices, measured in the same run."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
import transformers

from pytest_editpitfalls import __version__
from pytest_editpitfalls.engine.products import float32_products

T = TypeVar("T")

EMBEDDED_PRODUCT = (48, 576, 1536)
"""Rows, hidden and intermediate size: the embedded model's up-projection on a small pass."""

REPETITIONS = 7


def describe(device: str) -> dict[str, Any]:
    """The machine as plain JSON types."""
    found: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
        "device": device,
    }
    if device != "cpu":
        properties = torch.cuda.get_device_properties(device)
        found |= {"gpu": properties.name, "gpu_memory_gb": round(properties.total_memory / 1e9, 1)}
    return found


def versions() -> dict[str, str]:
    """Versions that the figures depend on."""
    return {
        "pytest-editpitfalls": __version__,
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


@cache
def matrix_rates(device: str) -> dict[str, float]:
    """GFLOP/s of matrix products, the best of `REPETITIONS`; measured once a run, with torch's threads as they are.

    Keys: "square_float32" and "embedded_float32" everywhere; on a GPU also "square_tf32" and "square_bfloat16".
    """
    large = 2048 if device == "cpu" else 8192
    square = (large, large, large)
    with float32_products(tf32=False):
        rates = {
            "square_float32": _rate(square, device, torch.float32),
            "embedded_float32": _rate(EMBEDDED_PRODUCT, device, torch.float32),
        }
    if device != "cpu":
        with float32_products(tf32=True):
            rates["square_tf32"] = _rate(square, device, torch.float32)
        rates["square_bfloat16"] = _rate(square, device, torch.bfloat16)
    return {name: round(rate, 1) for name, rate in rates.items()}


def _rate(shape: tuple[int, int, int], device: str, dtype: torch.dtype) -> float:
    rows, inner, columns = shape
    a = torch.randn(rows, inner, device=device).to(dtype)
    b = torch.randn(inner, columns, device=device).to(dtype)
    out = a @ b  # warm
    # Enough products in one measurement that the clock's grain does not matter.
    products = max(1, int(2e9 // (2 * rows * inner * columns)))

    def multiply() -> None:
        for _ in range(products):
            torch.mm(a, b, out=out)

    best = min(timed(multiply, device)[0] for _ in range(REPETITIONS)) / products
    return 2 * rows * inner * columns / best / 1e9


def timed(work: Callable[[], T], device: str) -> tuple[float, T]:
    """Seconds of a piece of work, all that it queues on a GPU included, and what it returns."""
    _wait(device)
    started = time.perf_counter()
    result = work()
    _wait(device)
    return time.perf_counter() - started, result


def free(device: str) -> None:
    """Give a GPU's memory back to other processes: this one holds what its tensors have left."""
    if device != "cpu":
        torch.cuda.empty_cache()


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def resident_mb() -> float:
    """Resident memory of this process now."""
    return float(psutil.Process().memory_info().rss) / 1e6


def forget_peak() -> None:
    """Start the peak of resident memory anew, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_mb() -> float:
    """The most resident memory since `forget_peak`, or since the process began where the system cannot forget."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        return int(kilobytes) * 1024 / 1e6
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if platform.system() == "Darwin" else peak * 1024 / 1e6
