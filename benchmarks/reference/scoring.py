"""Scoring as released (`test_batch_prediction`): one padded pass for each fact, all positions through the head."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from pytest_editpitfalls.engine.model_adapter import ModelAdapter

from .rows import padded


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
