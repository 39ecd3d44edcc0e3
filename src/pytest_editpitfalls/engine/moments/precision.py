"""Single-precision products in single precision, whatever the process allows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def exact_products(keys: Tensor) -> Iterator[None]:
    """For products of ``keys`` in float32: no rounding of their factors. Puts the process's setting back.

    A half-precision number is a TF32 number too: on a GPU, TF32 multiplies such keys exactly, adds in single precision,
    and is many times faster.
    """
    fast = keys.is_cuda and keys.dtype in (torch.float16, torch.bfloat16)
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        backends: Any = torch.backends
        switches = {backends.cuda.matmul: "tf32" if fast else "ieee", backends.mkldnn.matmul: "ieee"}
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
        torch.set_float32_matmul_precision("high" if fast else "highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(general)
