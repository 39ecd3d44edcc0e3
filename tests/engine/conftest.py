"""Tiny random models of every family, wrapped as the engine sees them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch

from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.host import Host
from tests.tiny_models import TINY, tiny_model

torch.set_num_threads(1)


@cache
def make_forward(name: str, dtype: torch.dtype = torch.float64) -> Forward:
    """float64, so that tolerances can tell a wrong formula from rounding."""
    model, tokenizer = tiny_model(name, dtype=dtype)
    return Forward(Host.of(model, tokenizer, family_for(model.config)))


@pytest.fixture(params=sorted(TINY))
def forward(request: pytest.FixtureRequest) -> Forward:
    return make_forward(request.param)


@pytest.fixture
def forward_of() -> Callable[[str], Forward]:
    return make_forward


def tolerance(forward: Forward) -> float:
    """Rounding that batching may change: GPT-J's and Gemma 2's attention rounds to float32 in any model."""
    return 2e-5 if forward.host.family.name in ("gptj", "gemma2") else 1e-8
