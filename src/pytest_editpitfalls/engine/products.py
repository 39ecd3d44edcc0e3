"""How matrix products of float32 numbers are made: exactly, or with factors rounded to TF32 (10 bits of mantissa)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor


@contextmanager
def float32_products(*, tf32: bool) -> Iterator[None]:
    """While open, products of float32 numbers are exact, or made in TF32 on a GPU, whatever the process allows.

    The setting belongs to the whole process, backward passes included; it is put back.

    Args:
        tf32: whether a GPU may round the factors to TF32; sums stay in float32. A CPU never does.
    """
    general: str | None = None
    with suppress(RuntimeError):  # not readable where a process has set both the old and the new switches of torch
        general = torch.get_float32_matmul_precision()
    switches = _switches()
    before = [(switch, switch.fp32_precision, above.fp32_precision) for switch, above in switches]
    # Both kinds of switches, in this order: others may ask the old ones, which raise where the new ones differ.
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    for switch, _ in switches[1:]:
        switch.fp32_precision = "ieee"
    try:
        yield
    finally:
        if general is not None:
            torch.set_float32_matmul_precision(general)
        for switch, own, inherited in before:
            switch.fp32_precision = "none" if own == inherited else own  # "none" inherits


def _switches() -> list[tuple[Any, Any]]:
    """The switches of a GPU's and of a CPU's products, with those above them; there are none before torch 2.9."""
    backends: Any = torch.backends
    if not hasattr(backends.cuda.matmul, "fp32_precision"):
        return []
    return [(backends.cuda.matmul, backends.cudnn), (backends.mkldnn.matmul, backends.mkldnn)]


@contextmanager
def exact_products(keys: Tensor) -> Iterator[None]:
    """For products of ``keys`` in float32: no rounding of their factors.

    A half-precision number is a TF32 number too: on a GPU, TF32 multiplies such keys exactly, adds in single precision,
    and is many times faster.
    """
    with float32_products(tf32=keys.is_cuda and keys.dtype in (torch.float16, torch.bfloat16)):
        yield
