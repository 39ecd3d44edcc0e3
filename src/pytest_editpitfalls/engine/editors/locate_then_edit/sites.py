"""Where target vectors are added and states are read: always at the subject's last token of a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from pytest_editpitfalls.engine.forward import first_tensor
from pytest_editpitfalls.engine.host import Host


class Site(Enum):
    """A module of a block whose output a target vector is added to."""

    BLOCK = "block"
    """the whole block (MEMIT)"""
    MLP = "mlp"
    """the MLP's down-projection (ROME, PMET); before the norm where one follows"""
    ATTENTION = "attention"
    """the attention's output projection (PMET); before the norm where one follows"""

    def module(self, host: Host, layer: int) -> nn.Module:
        """The module in block ``layer``."""
        if self is Site.MLP:
            return host.down_projection(layer)
        if self is Site.ATTENTION:
            return host.module(f"{host.family.blocks}.{layer}.{host.family.attention_output}")
        return host.blocks[layer]

    def goes_straight(self, host: Host) -> bool:
        """Whether what is added here arrives unchanged in the block's output, so that the block need not run."""
        return self is Site.BLOCK or (self is Site.MLP and not host.family.norm_after_mlp)


@dataclass
class Taken:
    """What a module got and gave in one column of each row: (rows, d_in) and (rows, d_out)."""

    got: Tensor
    gave: Tensor


@contextmanager
def taking(module: nn.Module, columns: Tensor, dtype: torch.dtype) -> Iterator[Taken]:
    """While open, the result holds the last call's input and output in column ``columns[row]`` of each row.

    Open it after `Overlay.rows`, so that it sees what the edited model gives.
    """
    taken = Taken(torch.empty(0), torch.empty(0))
    each = torch.arange(len(columns), device=columns.device)

    def at(tensor: Tensor) -> Tensor:
        # A model may flatten (rows, tokens) before its MLP (OPT). Indexing copies: Falcon adds to outputs in place.
        return tensor.reshape(len(columns), -1, tensor.shape[-1])[each, columns].to(dtype)

    def take(_module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        taken.got, taken.gave = at(args[0]), at(first_tensor(output))

    handle = module.register_forward_hook(take)
    try:
        yield taken
    finally:
        handle.remove()


@contextmanager
def adding(module: nn.Module, vectors: Tensor) -> Iterator[None]:
    """While open, ``vectors`` (rows, d_out) are added to the first column of the module's output.

    Args:
        module: a projection, which returns a bare tensor.
        vectors: may require gradients.
    """

    def add(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        wide = output.reshape(len(vectors), -1, output.shape[-1])
        return add_to_first(wide, vectors).reshape(output.shape)

    handle = module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def add_to_first(hidden: Tensor, vectors: Tensor) -> Tensor:
    """``hidden`` (rows, columns, d) with ``vectors`` (rows, d) added to its first column."""
    added = hidden[:, :1] + vectors[:, None].to(hidden.dtype)
    return torch.cat([added, hidden[:, 1:]], dim=1)
