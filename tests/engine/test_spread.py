"""A model over several devices gives what the whole one gives: in every family, and with every editor.

There are no GPUs here: `several_devices` makes devices of the CPU that share no operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from pytest_editpitfalls.engine.editors.shipped import shipped_editors
from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.generation import Generator, Prompt
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.models import spreading
from pytest_editpitfalls.errors import UsageError
from tests.engine.conftest import ALL, EXPERTS, tolerance
from tests.engine.quick_editors import PROMPTS, TRAINED, answers, unsuitable
from tests.several_devices import several_devices
from tests.tiny_models import tiny_model

GPUS = (torch.device("cpu:1"), torch.device("cpu:2"))
PLENTY = 10**9


def spread_forward(name: str) -> Forward:
    """To be used where `several_devices` is open."""
    model, tokenizer = tiny_model(name, layers=3, dtype=torch.float64)
    family = family_for(model.config)
    places = spreading.device_map(model, family.blocks, torch.float64, GPUS, [PLENTY] * len(GPUS))
    assert places is not None
    return Forward(ModelAdapter.of(spreading.spread(model, places), tokenizer, family))


def whole_forward(name: str) -> Forward:
    model, tokenizer = tiny_model(name, layers=3, dtype=torch.float64)
    return Forward(ModelAdapter.of(model, tokenizer, family_for(model.config)))


def said(forward: Forward) -> list[list[int]]:
    prompts = [Prompt(0, forward.host.encoder.prompt(text), 2) for text in PROMPTS]
    return [each.tokens for each in Generator(forward, max_tokens=60).continued([()], prompts)]


def check(name: str, editors: Sequence[str], tmp_path: Path, **edits: int) -> None:
    """Base model, edits and edited models on several devices against those on one."""
    whole, expected = whole_forward(name), {}
    for editor in editors:
        try:
            expected[editor] = answers(editor, whole, tmp_path, **edits)
        except UsageError as error:
            assert unsuitable(error), error
    with several_devices():
        spread = spread_forward(name)
        assert spread.host.is_spread
        assert set(spread.host.devices) == set(GPUS)
        assert said(spread) == said(whole)
        for editor, values in expected.items():
            found = answers(editor, spread, tmp_path, **edits)
            assert found == pytest.approx(values, abs=tolerance(whole)), editor


@pytest.mark.parametrize("name", ALL)
def test_every_family_is_edited_as_on_one_device(name: str, tmp_path: Path) -> None:
    check(name, ["grace"] if name in EXPERTS else ["rome"], tmp_path, cases=1)


@pytest.mark.parametrize("name", ["gpt2", "bloom"])
def test_layers_on_two_devices_are_edited_together(name: str, tmp_path: Path) -> None:
    check(name, ["memit", "grace", "ft-l"], tmp_path, cases=1)


@pytest.mark.parametrize("name", [each.name for each in shipped_editors() if each.name not in TRAINED])
def test_every_editor_edits_twice_as_on_one_device(name: str, tmp_path: Path) -> None:
    check("llama", [name], tmp_path, edits=2, cases=1)
