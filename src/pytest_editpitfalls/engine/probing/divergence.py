"""How far edited models' next tokens are from the base model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from pytest_editpitfalls.engine.generation import Generator
from pytest_editpitfalls.engine.overlay import EditedModel
from pytest_editpitfalls.engine.scoring.questions import Tokens

LOGITS = 2**24
"""Logits that are held at once."""


@dataclass(frozen=True, slots=True)
class Apart:
    """How far is ``model`` after ``prompt`` from the base model after ``base``, the same without the model's prefix?"""

    model: int
    prompt: Tokens
    base: Tokens


def divergences(generator: Generator, models: Sequence[EditedModel], asked: Sequence[Apart], words: int) -> list[float]:
    """Return KL(base || edited) of the next token's distribution for each, in nats.

    Args:
        models: the edited models; number 0 is the base model.
        words: size of the vocabulary.
    """
    in_order = sorted(dict.fromkeys(asked), key=lambda each: each.base)  # what shares a base comes together
    most = max(1, LOGITS // (2 * words))
    found: dict[Apart, float] = {}
    for start in range(0, len(in_order), most):
        part = in_order[start : start + most]
        rows = dict.fromkeys([(0, each.base) for each in part] + [(each.model, each.prompt) for each in part])
        place = {row: number for number, row in enumerate(rows)}
        log_probs = generator.next_logits(models, list(rows)).double().log_softmax(dim=1)
        base = log_probs[[place[0, each.base] for each in part]]
        edited = log_probs[[place[each.model, each.prompt] for each in part]]
        apart = nn.functional.kl_div(edited, base, reduction="none", log_target=True).sum(dim=1)
        # rounding may leave a hair below zero; a NaN stays one
        found |= zip(part, apart.clamp_min(0.0).tolist(), strict=True)
    return [found[each] for each in asked]
