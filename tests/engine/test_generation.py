"""What many edited models say in one batch is what each says alone, changed in place, by Hugging Face's generate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.generation import Generator, Prompt
from pytest_editpitfalls.engine.overlay import DenseDelta, EditedModel, LowRankDelta
from tests.engine import naive
from tests.engine.test_overlay_and_scoring import checksum, random_models, transposed

PROMPTS = ["Rome is", "The capital of France is", "In the news today, the president of the United States met", "The"]
LENGTH = 12


def dense(forward: Forward, seed: int) -> DenseDelta:
    """A whole matrix of the second block's down-projection changed, as fine-tuning does it."""
    d_o, d_k = forward.host.matrix_shape(1)
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(d_o, d_k, generator=generator, dtype=torch.float64) / d_k**0.5
    return DenseDelta(forward.host.down_projection_path(1), matrix)


def updates_of(model: EditedModel) -> list[tuple[str, torch.Tensor]]:
    return [(delta.module, delta.u @ delta.v.T if isinstance(delta, LowRankDelta) else delta.weight) for delta in model]


def generated(forward: Forward, prompt: Sequence[int], length: int, **options: Any) -> list[int]:
    """By the model as it stands, with its own `generate`."""
    ids = torch.tensor([list(prompt)])
    found = forward.host.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=length, pad_token_id=0, **options
    )
    return [int(token) for token in found[0, ids.shape[1] :]]


@pytest.mark.parametrize("max_tokens", [24, 10_000])
def test_many_edited_models_say_what_each_says_alone(any_forward: Forward, max_tokens: int) -> None:
    forward = any_forward
    experts = forward.host.family.mixture
    models: list[EditedModel] = [()] if experts else [*random_models(forward), (dense(forward, 5),)]
    before = checksum(forward)
    asked = [(model, forward.host.encoder.prompt(text)) for model in range(len(models)) for text in PROMPTS]
    said = Generator(forward, max_tokens=max_tokens).continued(models, [Prompt(m, ids, LENGTH) for m, ids in asked])
    assert checksum(forward) == before
    for (model, ids), found in zip(asked, said, strict=True):
        with naive.in_place(forward.host.model, updates_of(models[model]), not experts and transposed(forward)):
            assert found.tokens == generated(forward, ids, LENGTH), (model, ids)
    if not experts:
        assert len({tuple(found.tokens) for found in said}) > len(PROMPTS)  # the changes decide what is said
