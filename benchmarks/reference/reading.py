"""Keys and values at the subject's last token, by full passes over padded rows (`repr_tools.get_reprs_at_idxs`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pytest_editpitfalls.engine.model_adapter import ModelAdapter

from .rows import Row, padded

ROWS_AT_ONCE = 128


@torch.no_grad()
def at_subject(host: ModelAdapter, module: nn.Module, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """(rows, d_in) and (rows, d_out): input and output of ``module`` at each row's subject.

    The pass is not stopped behind the module: all layers run and all positions go through the head.
    """
    inputs, outputs = [], []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        seen: list[tuple[Tensor, Tensor]] = []
        handle = module.register_forward_hook(
            lambda _module, args, output, seen=seen: seen.append(
                (args[0], output[0] if isinstance(output, tuple) else output)
            )
        )
        try:
            host.model(**padded(host, [row.ids for row in part]), use_cache=False)
        finally:
            handle.remove()
        for index, row in enumerate(part):
            inputs.append(seen[0][0][index, row.subject_last])
            outputs.append(seen[0][1][index, row.subject_last])
    return torch.stack(inputs).to(host.edit_dtype), torch.stack(outputs).to(host.edit_dtype)
