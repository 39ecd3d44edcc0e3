"""Copies of the base model's matrices in the layout that oneDNN multiplies fastest: "weight prepacking", on a CPU only.

A linear layer rearranges its matrix in each call, which for the few rows of a batch of edits takes as long as the
product itself. The base model's matrices never change, so that they can be rearranged once: for x W^T, and W once
more for the gradient by x, g W. The model keeps its own weights, and uses them where others were put in their place or
torch has counted a write. It does not count writes to ``weight.data``, so nobody may make any but the in-place editors,
after whom `Prepacked.look_again` is called. The sums are those of another library, so results differ from those of
`torch.nn.functional.linear` by rounding.

torch makes such copies for itself when a frozen model is compiled (``torch.compile``), by operators that have no public
name. Where they are missing, or answer otherwise than the layer itself, it has no copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .bf16_weights import rounds_inputs
from .matrices import is_matrix, is_plain, is_transposed

ROWS = 128
"""Rows of a typical product, for which oneDNN picks a layout. On two CPU cores 16 and 512 made no difference."""

TRIED = 3
"""Rows of the products that each copy is tried with before it is used."""

SHARE = 0.25
"""Share of the free memory that copies may take."""


class _Matrix:
    """A matrix W (d_o, d_k) ready for products.

    Attributes:
        own: W as the module has it.
        there: W rearranged, for x W^T.
        back: W^T rearranged, for the gradient; None where W itself makes it.
        bias: (d_o,) added to x W^T.
        failed: called when oneDNN cannot multiply.
    """

    def __init__(
        self,
        own: Tensor,
        there: Tensor | None,
        back: Tensor | None,
        bias: Tensor | None,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self.own, self.there, self.back, self.bias, self.failed = own, there, back, bias, failed

    def product(self, x: Tensor) -> Tensor:
        """x W^T + b; where W is kept in less than x's precision (`bf16_weights`), x is rounded for the product."""
        if x.dtype == self.own.dtype:
            return self._product(x, self.bias)
        result = self._product(x.to(self.own.dtype), None).to(x.dtype)
        return result if self.bias is None else result + self.bias

    def gradient(self, g: Tensor) -> Tensor:
        """g W, which has a gradient, too."""
        if self.back is None:
            return (g.to(self.own.dtype) @ self.own).to(g.dtype)
        return _product(g, _Matrix(self.own.T, self.back, self.there, None, self.failed))

    def _product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        if self.there is not None:
            try:
                return _multiplied(x, self.there, bias)
            except RuntimeError:
                self.failed()
        return linear(x, self.own, bias)


class _Product(torch.autograd.Function):
    """x W^T + b with a gradient by x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: _Matrix) -> Tensor:
        ctx.matrix = matrix
        return matrix.product(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        matrix: _Matrix = ctx.matrix
        return matrix.gradient(gradients[0]), None


def _product(x: Tensor, matrix: _Matrix) -> Tensor:
    if not x.numel():
        return linear(x.to(matrix.own.dtype), matrix.own).to(x.dtype)
    if torch.is_grad_enabled() and x.requires_grad:
        result: Tensor = _Product.apply(x, matrix)  # type: ignore[no-untyped-call]
        return result
    return matrix.product(x)


class _Entry:
    """A module with the copy of its matrix, and how to see that it is as it was."""

    def __init__(self, module: Any, matrix: _Matrix, dtype: torch.dtype) -> None:
        self.matrix, self._attributes, self._parameters = matrix, vars(module), module._parameters
        self._tensors: list[Tensor] = [module.weight] if module.bias is None else [module.weight, module.bias]
        self.look()

        def forward(*args: Any, **options: Any) -> Any:
            if len(args) == 1 and not options and args[0].dtype == dtype:
                return _product(args[0], matrix)
            return type(module).forward(module, *args, **options)

        self._forward = forward

    def look(self) -> None:
        """Remember the memory of weight and bias, and how often they have been written to."""
        self._seen = [(each, each.detach(), each._version) for each in self._tensors]

    def is_as_loaded(self) -> bool:
        """Whether nothing was put in the place of its weights or of its ``forward``, or written to them."""
        now = (self._parameters.get("weight"), self._parameters.get("bias"))
        if "forward" in self._attributes or (len(self._seen) == 1 and now[1] is not None):
            return False
        return all(
            tensor is current
            and tensor.is_set_to(memory)
            and tensor._version == version
            and not tensor.requires_grad  # a copy gives none
            for current, (tensor, memory, version) in zip(now, self._seen, strict=False)
        )

    def stand_in(self) -> None:
        """Have the module multiply through the copy, where it is as it was loaded."""
        self.stand_aside()  # what an interrupt has left there would answer for any weights
        if self.is_as_loaded():
            self._attributes["forward"] = self._forward  # nn.Module's own way of setting an attribute is slow

    def stand_aside(self) -> None:
        """Have the module multiply by itself again."""
        if self._attributes.get("forward") is self._forward:
            del self._attributes["forward"]


class Prepacked:
    """The rearranged copies of a model's matrices; empty until `pack` is called.

    Attributes:
        nbytes: bytes that the copies take.
    """

    def __init__(self) -> None:
        self._entries: dict[nn.Module, list[_Entry]] = {}
        self.nbytes = 0

    @torch.no_grad()
    def pack(self, parts: Iterable[nn.Module], free: int) -> None:
        """Make the copies, where this machine and these weights are of the kind that they are for.

        Without room for all that is useful, copies for gradients are left out first.

        Args:
            parts: the blocks and the head.
            free: bytes that this process may count on; `SHARE` of them may be taken.
        """
        if not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
            return
        found: dict[nn.Module, list[Any]] = {part: [m for m in part.modules() if _suits(m)] for part in parts}
        size = sum(int(module.weight.nbytes) for modules in found.values() for module in modules)
        copies = min(2, int(SHARE * max(0, free)) // size) if size else 0
        for part, modules in found.items() if copies else ():
            for module in modules:
                if (matrix := _packed(module, back=copies > 1)) is not None:
                    matrix.failed = self.give_up
                    # Where inputs are rounded (`bf16_weights`), they come in single precision, too.
                    self._entries.setdefault(part, []).append(_Entry(module, matrix, torch.float32))
                    self.nbytes += copies * int(module.weight.nbytes)

    def give_up(self) -> None:
        """Let all copies go: oneDNN could not multiply.

        It does so where memory runs out, does not say so, and crashes sooner or later if it is asked again. Without the
        copies there is more memory, and torch's own product says what is wrong.
        """
        for entries in self._entries.values():
            for entry in entries:
                entry.matrix.there = entry.matrix.back = None
        self._entries.clear()
        self.nbytes = 0

    def look_again(self) -> None:
        """To be called when weights have been put back, bit for bit, into memory of their own."""
        for entries in self._entries.values():
            for entry in entries:
                entry.look()

    @contextmanager
    def of(self, parts: Iterable[nn.Module]) -> Iterator[None]:
        """While open, matrices in these ``parts``, which were given to `pack`, are multiplied through their copies."""
        entries = [entry for part in parts for entry in self._entries.get(part, ())]
        try:
            for entry in entries:
                entry.stand_in()
            yield
        finally:
            for entry in entries:
                entry.stand_aside()

    def everywhere(self) -> AbstractContextManager[None]:
        """`of` all parts."""
        return self.of(self._entries)


def _suits(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    if not is_matrix(module) or type(weight) is not nn.Parameter or weight.device.type != "cpu" or not weight.numel():
        return False
    if "forward" in vars(module):
        return False
    return rounds_inputs(module) or (weight.dtype == torch.float32 and is_plain(module))


def _packed(module: Any, *, back: bool) -> _Matrix | None:
    """The matrix with its copies; None where they cannot be made, or give other products than the matrix itself."""
    weight = module.weight.detach()
    own = weight.T if is_transposed(module) else weight
    bias = None if module.bias is None else module.bias.detach().contiguous()  # the operator reads no strides of it
    x, g = (torch.linspace(-1, 1, TRIED * width).reshape(TRIED, width) for width in (own.shape[1], own.shape[0]))
    try:
        there, to_back = _rearranged(own), _rearranged(own.T) if back else None
        _multiplied(x.to(own.dtype), there, None)  # raises where it cannot
        matrix = _Matrix(own, there, to_back, bias)
        pairs = [(matrix.product(x), module(x)), (matrix.gradient(g), (g.to(own.dtype) @ own).to(g.dtype))]
    except (AttributeError, RuntimeError, TypeError):
        return None
    eps = torch.finfo(own.dtype).eps
    return matrix if all(_are_close(found, expected, eps * len(x.T) ** 0.5) for found, expected in pairs) else None


def _are_close(found: Tensor, expected: Tensor, eps: float) -> bool:
    return found.shape == expected.shape and bool((found - expected).norm() <= 8 * eps * expected.norm())


def _rearranged(matrix: Tensor) -> Tensor:
    result: Tensor = torch.ops.mkldnn._reorder_linear_weight(matrix.contiguous(), ROWS)
    return result


def _multiplied(x: Tensor, rearranged: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, rearranged, bias, "none", [], "")
    return result
