"""Token rows of a request and what is read of them, by full passes over one padded rectangle.

As in the released code: rows are padded as by the tokenizer's call (``padding=True``), keys and values are read at the
subject's last token (`repr_tools.get_reprs_at_idxs`), and each fact is scored by a pass of its own, with all positions
through the head (`test_batch_prediction`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.program import EditRequest

KL_PROMPT = "{} is a"
ROWS_AT_ONCE = 128


@dataclass(frozen=True)
class Row:
    """One text.

    Attributes:
        ids: its tokens.
        subject_last: index of the subject's last token.
    """

    ids: tuple[int, ...]
    subject_last: int


def template_rows(host: ModelAdapter, request: EditRequest, templates: Sequence[str]) -> list[Row]:
    """The rewrite prompt in each of the context templates."""
    rows = []
    for template in templates:
        start = template.index("{}") + request.prompt.index("{}")
        text = template.replace("{}", request.question, 1)
        rows.append(Row(*host.encoder.subject_last(text, start, request.subject)))
    return rows


def kl_row(host: ModelAdapter, request: EditRequest) -> Row:
    """The whole KL prompt, although only its subject's last token is read."""
    text = KL_PROMPT.replace("{}", request.subject, 1)
    return Row(*host.encoder.subject_last(text, 0, request.subject))


def padded(host: ModelAdapter, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """``input_ids`` and ``attention_mask``, both (rows, longest row), padded on the right."""
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    return {"input_ids": ids.to(host.device), "attention_mask": mask.to(host.device)}


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


@torch.no_grad()
def probabilities(host: ModelAdapter, prompts: Sequence[str], target: str) -> tuple[float, ...]:
    """exp(mean log-probability of the target's tokens) after each of the prompts, teacher-forced."""
    encoded, wanted = [host.encoder.prompt(prompt) for prompt in prompts], host.encoder.target(target)
    logits = host.model(**padded(host, [ids + wanted for ids in encoded]), use_cache=False).logits
    found = []
    for index, ids in enumerate(encoded):
        terms = [
            logits[index, len(ids) + place - 1].log_softmax(dim=0)[token].item() for place, token in enumerate(wanted)
        ]
        found.append(math.exp(sum(terms) / len(terms)))
    return tuple(found)
