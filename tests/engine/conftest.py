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


@pytest.fixture(params=sorted(TINY))
def forward(request: pytest.FixtureRequest) -> Forward:
    return make_forward(request.param)


@pytest.fixture
def forward_of() -> Callable[[str], Forward]:
    return make_forward


def tolerance(forward: Forward) -> float:
    """Rounding that batching may change: GPT-J's and Gemma 2's attention rounds to float32 in any model."""
    return 2e-5 if forward.host.family.name in ("gptj", "gemma2") else 1e-8
