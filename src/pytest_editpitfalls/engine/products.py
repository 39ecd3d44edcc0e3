"""How matrix products of float32 numbers are made: exactly, or with factors rounded to TF32 (10 bits of mantissa)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def float32_products(*, tf32: bool) -> Iterator[None]:
    """While open, products of float32 numbers are exact, or made in TF32 on a GPU; whatever the process allows.

    The setting belongs to the whole process, backward passes included; it is put back.

    Args:
        tf32: whether a GPU may round the factors to TF32; sums stay in float32. A CPU never does.
    """
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        backends: Any = torch.backends
        switches = {backends.cuda.matmul: "tf32" if tf32 else "ieee", backends.mkldnn.matmul: "ieee"}
        before = {switch: switch.fp32_precision for switch in switches}
        try:
            for switch, value in switches.items():
                switch.fp32_precision = value
            yield
        finally:
            for switch, value in before.items():
                switch.fp32_precision = value
    else:  # torch before 2.9
        general = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(general)


@contextmanager
def exact_products(keys: Tensor) -> Iterator[None]:
    """For products of ``keys`` in float32: no rounding of their factors.

    A half-precision number is a TF32 number too: on a GPU, TF32 multiplies such keys exactly, adds in single precision,
    and is many times faster.
    """
    with float32_products(tf32=keys.is_cuda and keys.dtype in (torch.float16, torch.bfloat16)):
        yield
