"""What some modules are given, or give, for each token of rows of many edited models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from .block_probe import first_tensor
from .bucketing import buckets
from .forward import LAUNCH_TOKENS, Forward, Rows
from .model_adapter import ModelAdapter
from .overlay import Overlay


@torch.no_grad()
def token_states(
    forward: Forward,
    overlay: Overlay,
    model_of: Sequence[int],
    tokens: Sequence[Sequence[int]],
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    last: int | None = None,
    max_tokens: int,
) -> list[dict[str, Tensor]]:
    """For each row, by module, (tokens, width) its inputs or outputs at all the row's tokens.

    Args:
        model_of: (rows,) index of the edited model in ``overlay`` that answers each row.
        tokens: token ids of each row.
        inputs: full names of modules of the blocks whose inputs are read.
        outputs: those whose outputs are read, with the edited model's changes.
        last: one past the last block that runs; all by default.
        max_tokens: padded tokens per pass.
    """
    host = forward.host
    found: list[dict[str, Tensor]] = [{} for _ in tokens]
    for bucket in buckets([len(row) for row in tokens], max_tokens=max_tokens, slack=LAUNCH_TOKENS):
        rows = Rows.pad([tokens[place] for place in bucket], host.device)
        seen: dict[str, Tensor] = {}
        models = torch.tensor([model_of[place] for place in bucket], device=host.device)
        with overlay.rows(models, rows.real.sum(dim=1)), ExitStack() as stack:
            for names, of_output in ((inputs, False), (outputs, True)):
                for name in names:
                    hook = _keeping(host, name, seen, rows, of_output)
                    stack.callback(host.module(name).register_forward_hook(hook).remove)
            forward.blocks(rows, last=last)
        for at, place in enumerate(bucket):
            found[place] = {name: value[at, : len(tokens[place])].to(host.edit_dtype) for name, value in seen.items()}
    return found


def _keeping(
    host: ModelAdapter, name: str, seen: dict[str, Tensor], rows: Rows, of_output: bool
) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
    def keep(_module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        # A model may flatten (rows, tokens) before its MLP (OPT). Cloned: Falcon adds to outputs in place.
        value = first_tensor(output).detach().clone() if of_output else args[0].detach()
        seen[name] = host.here(value).reshape(*rows.ids.shape, -1)

    return keep
