"""Tiny random models of every family, wrapped as the engine sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch

from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from tests.tiny_models import TINY, tiny_model

torch.set_num_threads(1)
pytest.register_assert_rewrite("tests.engine.token_gradient_editors")


_SHARED: list[Forward] = []


@cache
def make_forward(name: str, dtype: torch.dtype = torch.float64) -> Forward:
    """float64, so that tolerances can tell a wrong formula from rounding."""
    model, tokenizer = tiny_model(name, dtype=dtype)
    _SHARED.append(Forward(ModelAdapter.of(model, tokenizer, family_for(model.config))))
    return _SHARED[-1]


@pytest.fixture(autouse=True)
def _shared_models_are_left_without_hooks() -> Iterator[None]:
    """A hook that stays changes how later tests' passes are computed; the test that leaves it is the one to fail."""
    yield
    left = [
        f"{forward.host.family.name}: {path or 'the model'}"
        for forward in _SHARED
        for path, module in forward.host.model.named_modules()
        if module._forward_hooks or module._forward_pre_hooks
    ]
    assert not left, left


IMAGES = sorted(name for name, tiny in TINY.items() if tiny.images is not None)
"""Models that take images, too. They run the code of their language models: two of them are in every test."""

EXPERTS = ["mixtral", "qwen3_moe", "qwen3_moe_mixed"]
"""Models without a down-projection to change."""

ALL = sorted({*TINY} - {*IMAGES} | {"gemma3_images", "qwen2_5_vl"})


@pytest.fixture(params=[name for name in ALL if name not in EXPERTS])
def forward(request: pytest.FixtureRequest) -> Forward:
    return make_forward(request.param)


@pytest.fixture(params=ALL)
def any_forward(request: pytest.FixtureRequest) -> Forward:
    """Those with experts, too."""
    return make_forward(request.param)


@pytest.fixture
def forward_of() -> Callable[[str], Forward]:
    return make_forward


def tolerance(forward: Forward) -> float:
    """Rounding that batching may change: attention (GPT-J, Gemma 2, Bloom) or routing is in float32 in any model."""
    single = forward.host.family.name in ("gptj", "gemma2", "bloom") or forward.host.family.mixture
    return 2e-5 if single else 1e-8
