"""What a pass of one token shows of a model's blocks: what they return, and whether the family says it as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pytest_editpitfalls.errors import UsageError

from .model_adapter import ModelAdapter

TOLERANCE = 1e-3
"""How far a block's output may be from what the declaration says, as a share of it; more where numbers are coarser."""


def first_tensor(output: Any) -> Tensor:
    """Hidden states of a block's output, which is a tensor or a tuple; a bare tensor is never indexed."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


@torch.no_grad()
def probe_blocks(host: ModelAdapter) -> list[int]:
    """Run one token through the model: how many values each block returns in a tuple, 0 for a bare tensor.

    Raises:
        UsageError: text does not run through the declared blocks or down-projections, or what a down-projection returns
            does not arrive in its block's output as the family says: target vectors learnt there would be wrong.
    """
    widths: dict[int, int] = {}

    def watch(layer: int) -> Any:
        def seen(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            widths[layer] = len(output) if isinstance(output, tuple) else 0
            if not host.family.mixture:
                _check_way_out(host, layer, block, args, kwargs)

        return seen

    one = torch.zeros(1, 1, dtype=torch.long, device=host.device)
    with ExitStack() as stack:
        for layer, block in enumerate(host.blocks):
            stack.callback(block.register_forward_hook(watch(layer), with_kwargs=True).remove)
        host.model.base_model(input_ids=one, attention_mask=one + 1, position_ids=one, use_cache=False)
    for layer in range(host.n_layers):
        if layer not in widths:
            raise _refusal(host, f"text does not run through block {layer} of '{host.family.blocks}'", "blocks")
    return [widths[layer] for layer in range(host.n_layers)]


def _check_way_out(
    host: ModelAdapter, layer: int, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """The block is run again with 0, then with its own result r, as the down-projection's output: r + factor r."""
    family = host.family
    with _returning(host.down_projection(layer), None) as calls:
        rest = first_tensor(block.forward(*args, **kwargs))
    if len(calls) != 1:
        raise _refusal(
            host,
            f"block {layer} calls '{family.down_projection}' {len(calls)} times for one token, not once",
            "down_projection",
        )
    if family.norm_after_mlp:
        return
    with _returning(host.down_projection(layer), rest):
        moved = first_tensor(block.forward(*args, **kwargs)) - rest
    wrong, scale = (moved - family.mlp_factor * rest).norm(), rest.norm()
    if wrong > max(TOLERANCE, 8 * torch.finfo(host.dtype).eps) * scale and bool(moved.isfinite().all()):
        raise _refusal(
            host,
            f"what '{family.down_projection}' returns does not arrive in the output of block {layer}"
            + ("" if family.mlp_factor == 1 else f", multiplied by {family.mlp_factor:g}"),
            "norm_after_mlp=True where a norm follows the MLP, or mlp_factor where a factor does",
        )


@contextmanager
def _returning(module: nn.Module, value: Tensor | None) -> Iterator[list[int]]:
    """While open, the module returns ``value``, by default zeros; what it yields has one entry for each call."""
    calls: list[int] = []

    def hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        calls.append(1)
        # A copy: Falcon adds to it in place.
        return torch.zeros_like(output) if value is None else value.to(output, copy=True).reshape(output.shape)

    handle = module.register_forward_hook(hook)
    try:
        yield calls
    finally:
        handle.remove()


def _refusal(host: ModelAdapter, what: str, what_to_correct: str) -> UsageError:
    origin = f" of {host.family.origin}" if host.family.origin else ""
    return UsageError(
        f"the declaration does not fit {type(host.model).__name__}: {what}",
        where=f"family '{host.family.name}'{origin}",
        fix=f"correct the declaration ({what_to_correct}); docs/families.md shows how one is written",
    )
