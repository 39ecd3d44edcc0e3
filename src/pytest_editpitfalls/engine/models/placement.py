"""Device and dtype by name, and whether a model fits. torch is imported inside the functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.engine.settings import BF16_WEIGHTS
from pytest_editpitfalls.errors import UsageError, check_choice

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Quantised:
    """A number format of weights that a library quantises to on loading; what is computed with is a default dtype."""

    library: str
    bits: int


QUANTISED = {"int8": Quantised("torchao", 8), "nf4": Quantised("bitsandbytes", 4)}

DTYPES = ("bfloat16", BF16_WEIGHTS, "float16", "float32", "float64", "tf32", *QUANTISED)
"""What ``--pitfalls-dtype`` takes. "tf32" is float32 whose matrix products a GPU makes in TF32."""

DEVICES = ("auto", "cpu", "cuda", "cuda:N")
"""What ``--pitfalls-device`` takes, as messages say it."""

_CALLED = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "half": "float16",
    "fp32": "float32",
    "float": "float32",
    "single": "float32",
    "fp64": "float64",
    "double": "float64",
    "gpu": "cuda",
    "nvidia": "cuda",
    "8bit": "int8",
    "int4": "nf4",
    "4bit": "nf4",
    "fp4": "nf4",
}
"""Names of other tools."""

BYTES = {"bfloat16": 2, BF16_WEIGHTS: 2, "float16": 2, "float32": 4, "float64": 8}

HALVES = frozenset(name for name, size in BYTES.items() if size == 2)
"""Those whose matrices are of half precision."""


@dataclass(frozen=True)
class MemoryEstimate:
    """What a model takes before the first case runs.

    Attributes:
        model: short name.
        parameters: number of weights, tied ones counted once.
        dtype: name of their dtype.
        bits: bits of a quantised weight; None where none is.
        weights_bytes: bytes of the weights.
        moment_bytes: bytes of one second moment and its factor in float64 (2 * 8 * d_k^2).
        available_bytes: free memory there.
        places: module -> GPU of a model that is spread over several; empty where it is on one device.
    """

    model: str
    parameters: int
    dtype: str
    weights_bytes: int
    moment_bytes: int
    device: str
    available_bytes: int
    bits: int | None = None
    places: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        return bool(self.places) or self.weights_bytes + self.moment_bytes <= self.available_bytes

    def __str__(self) -> str:
        return (
            f"{self.model}: {self.parameters / 1e6:,.0f} M parameters in {self._numbers} take "
            f"{self.weights_bytes / 1e9:.2f} GB, one second moment {self.moment_bytes / 1e9:.2f} GB; "
            f"{self.available_bytes / 1e9:.1f} GB available on {self.device}"
        )

    @property
    def _numbers(self) -> str:
        return self.dtype if self.bits is None else f"{self.bits} bits (embeddings and norms in {self.dtype})"


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device of that name; "auto" is cuda where there is one, otherwise cpu. One GPU: see `spreading`.

    Raises:
        UsageError: no such device here, or not a device's name.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(
            f"'{name}' is not a device", where="--pitfalls-device", fix="auto, cpu, cuda or cuda:N"
        ) from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(
            f"device '{name}' is not supported", where="--pitfalls-device", fix="auto, cpu, cuda or cuda:N"
        )
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UsageError(
                f"'{name}' was asked for, but torch sees {count or 'no'} CUDA device(s)",
                where="--pitfalls-device",
                fix="--pitfalls-device=cpu, or a torch build and a driver for the GPU",
            )
    return device


def check_device(name: str, *, where: str) -> None:
    """Raise `UsageError` for what is no device's name; whether it is there is not asked, and torch is not imported."""
    if not re.fullmatch(r"cuda:\d+", name):
        check_choice(name, DEVICES, what="device", where=where, also=_CALLED)


def check_dtype(name: str, *, where: str) -> None:
    """Raise `UsageError` for what is no name of `DTYPES`; torch is not imported."""
    check_choice(name, DTYPES, what="dtype", where=where, also=_CALLED)


def gpu_count() -> int:
    """The CUDA devices that torch sees; CUDA itself is not started."""
    import torch

    return int(torch.cuda.device_count())


def resolve_dtype(name: str | None, device: torch.device, checkpoint: object = None) -> torch.dtype:
    """Return the dtype that the weights are kept in, of "bf16-weights" that of the matrices.

    Args:
        name: one of `DTYPES`; None, and what is quantised, means float32 on a CPU and the checkpoint's dtype elsewhere.
        checkpoint: ``config.dtype`` of the model; None is read as float32.

    Raises:
        UsageError: not a name of `DTYPES`; "tf32" where the device has no such products; "bf16-weights" where they
            would be slower than those of float32.
    """
    import torch

    if name is None or name in QUANTISED:
        kept = str(checkpoint).removeprefix("torch.")
        name = kept if device.type != "cpu" and kept in BYTES else "float32"
    check_dtype(name, where="--pitfalls-dtype")
    if name == "tf32":
        if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
            raise no_tf32(str(device))
        name = "float32"
    if name == BF16_WEIGHTS:
        if not _has_bf16_products(device):
            raise no_bf16(str(device))
        name = "bfloat16"
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def no_tf32(device: str) -> UsageError:
    """The error for "tf32" on a device without such products."""
    return UsageError(
        f"'{device}' does not multiply in TF32: that takes an NVIDIA GPU of the Ampere generation or a later one",
        where="--pitfalls-dtype=tf32",
        fix="--pitfalls-dtype=float32, or another --pitfalls-device",
    )


def no_bf16(device: str) -> UsageError:
    """The error for "bf16-weights" on a device that multiplies bfloat16 no faster than float32."""
    needed = (
        "a CPU with instructions for it (AVX512-BF16, AMX), or an NVIDIA GPU of the Ampere generation or a later one"
    )
    return UsageError(
        f"'{device}' has no fast products of bfloat16, which take {needed}: runs would be slower than in float32",
        where=f"--pitfalls-dtype={BF16_WEIGHTS}",
        fix="--pitfalls-dtype=float32, or another --pitfalls-device",
    )


def _has_bf16_products(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32.

    A CPU without the instructions takes 2.5 times as long with AVX-512, and up to 30 times with AVX2 (measured with the
    instructions switched off).
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.backends.mkldnn.is_available() and not _CPU_BF16.isdisjoint(_cpu_features())


_CPU_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Instructions of x86 and ARM, by the names that torch and Linux have for them."""


def _cpu_features() -> set[str]:
    import torch

    if ask := getattr(torch.cpu, "get_capabilities", None):
        return {name for name, is_there in ask().items() if is_there is True}
    try:  # an older torch
        return set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return set()


def available_memory(device: torch.device) -> int:
    """Free bytes on the device; on a CPU as `host_memory`."""
    import torch

    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else host_memory()


def host_memory() -> int:
    """Free bytes of this machine, the page cache included; a container's limit counts, too. Torch-free."""
    import psutil

    available = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no control group of version 2, or "max"
        return available
    return min(available, limit - used + int(statistics.get("file", 0)))


def estimate(
    model: str, skeleton: Any, d_k: int, dtype: torch.dtype, device: torch.device, bits: int | None = None
) -> MemoryEstimate:
    """Return the estimate of a model whose weights are on the meta device (``skeleton``).

    Args:
        bits: of a quantised weight: of every linear layer but the head.
    """
    name = str(dtype).removeprefix("torch.")
    parameters = sum(parameter.numel() for parameter in skeleton.parameters())
    return MemoryEstimate(
        model=model,
        parameters=parameters,
        dtype=name,
        weights_bytes=parameters * BYTES[name] - (0 if bits is None else _saved(skeleton, BYTES[name], bits)),
        moment_bytes=2 * 8 * d_k * d_k,
        device=str(device),
        available_bytes=available_memory(device),
        bits=bits,
    )


def _saved(skeleton: Any, width: int, bits: int) -> int:
    """Bytes that quantising saves: what is kept of ``width`` bytes is ``bits`` and a scale for 64 weights."""
    head = skeleton.get_output_embeddings()
    count = sum(
        module.weight.numel()
        for module in skeleton.modules()
        if module is not head and type(module).__name__ in ("Linear", "Conv1D")
    )
    return int(count * (width - bits / 8 - 4 / 64))
