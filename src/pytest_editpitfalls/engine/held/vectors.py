"""Hidden states of objects behind prompts: how near two objects are to a model."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.forward import LAUNCH_TOKENS, Forward, Rows
from pytest_editpitfalls.errors import UnscorableCase


@torch.no_grad()
def object_vectors(
    forward: Forward, asked: Sequence[tuple[str, str]], depth_fraction: float, joiner: str, *, max_tokens: int
) -> list[NDArray[Any] | None]:
    """Mean hidden state over each object's tokens; see `EngineSession.object_vectors`."""
    if not 0.0 < depth_fraction <= 1.0:
        raise ValueError(f"a fraction of the depth is above 0 and at most 1, not {depth_fraction}")
    encoder, device = forward.host.encoder, forward.host.device
    last = max(1, round(depth_fraction * forward.n_layers))
    texts: dict[tuple[str, str], tuple[tuple[int, ...], int]] = {}
    for prompt, label in asked:
        with contextlib.suppress(UnscorableCase):
            before = encoder.prompt(prompt)
            texts[prompt, label] = (before + encoder.target(label, joiner), len(before))
    pairs = list(texts)
    found: dict[tuple[str, str], NDArray[Any]] = {}
    for bucket in buckets([len(texts[pair][0]) for pair in pairs], max_tokens=max_tokens, slack=LAUNCH_TOKENS):
        rows = [texts[pairs[index]] for index in bucket]
        hidden = forward.blocks(Rows.pad([ids for ids, _ in rows], device), last=last).float()
        for index, (ids, start), states in zip(bucket, rows, hidden, strict=True):
            found[pairs[index]] = states[start : len(ids)].mean(dim=0).cpu().numpy()
    return [found.get(pair) for pair in asked]
