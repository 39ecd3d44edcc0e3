"""Token rows of a request, padded to one rectangle as the released code's tokenizer call does (``padding=True``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.program import EditRequest

KL_PROMPT = "{} is a"


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
