"""Quantised weights: what stands in them, and products with them that edits can be learnt through.

A product here is the input times the dequantised matrix, in the input's precision, whatever the library would do: the
numbers of the checkpoint, and each row by itself. (LLM.int8() of bitsandbytes rounds the inputs, too, and picks its
outliers over all rows of a pass, so that an answer would depend on its neighbours.) The matrix is made anew for each
product, also for the gradient, and never kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

LIBRARIES = ("bitsandbytes", "torchao")
"""Whose weights can be read: the import name, which is also transformers' ``quant_method``."""


def is_quantised(tensor: object) -> bool:
    """Whether a weight is one of a library's own, which holds other numbers than it stands for."""
    return type(tensor).__module__.partition(".")[0] in LIBRARIES


def quantised_modules(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Name and module of every quantised matrix."""
    for name, module in model.named_modules():
        if is_quantised(module._parameters.get("weight")):
            yield name, module


def plain(weight: Tensor) -> Tensor:
    """The numbers that a weight stands for, in memory of their own where it is quantised."""
    if not is_quantised(weight):
        return weight
    library: Any = weight
    kind = type(weight).__name__
    if kind not in ("Params4bit", "Int8Params"):
        found: Tensor = library.dequantize()
        return found.detach()
    from bitsandbytes import functional

    if kind == "Params4bit":
        found = functional.dequantize_4bit(weight.data, library.quant_state)
    else:
        found = functional.int8_vectorwise_dequant(weight.data, library.SCB)
    return found


class _Product(torch.autograd.Function):
    """``x W^T`` with a matrix that is dequantised for the product alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: Any) -> Tensor:
        ctx.module = module
        return x @ plain(module.weight).to(x.dtype).T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return gradient @ plain(ctx.module.weight).to(gradient.dtype), None


def multiply_exactly(model: nn.Module) -> int:
    """Let every quantised matrix of the model be multiplied as this module says; returns how many there are."""
    found = list(quantised_modules(model))
    for _, module in found:
        module.forward = partial(_linear, module)
    return len(found)


def _linear(module: Any, x: Tensor) -> Tensor:
    product: Tensor = _Product.apply(x, module)  # type: ignore[no-untyped-call]
    return product if module.bias is None else product + module.bias.to(product.dtype)
