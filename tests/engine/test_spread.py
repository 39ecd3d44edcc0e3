"""A model over several devices gives what the whole one gives: in every family, and with every editor.

There are no GPUs here: `several_devices` makes devices of the CPU that share no operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine import models
from pytest_editpitfalls.engine.editing.interface import EditJob
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.shipped import shipped_editors
from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.generation import Generator, Prompt
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.models import loading, placement, spreading
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import compile_case
from tests.engine.conftest import ALL, EXPERTS, tolerance
from tests.engine.locate_then_edit import REQUESTS
from tests.engine.quick_editors import PROMPTS, TRAINED, answers
from tests.engine.test_mend import make_mend, trained
from tests.several_devices import several_devices
from tests.store.store_samples import CASE
from tests.tiny_models import save_tiny, tiny_model

GPUS = (torch.device("cpu:1"), torch.device("cpu:2"))
PLENTY = 10**9
PROGRAM = compile_case(CASE)


@cache
def spread_forward(name: str, layers: int = 3) -> Forward:
    """To be used where `several_devices` is open."""
    model, tokenizer = tiny_model(name, layers=layers, dtype=torch.float64)
    family = family_for(model.config)
    places = spreading.device_map(model, family.blocks, torch.float64, GPUS, [PLENTY] * len(GPUS))
    assert places is not None
    return Forward(ModelAdapter.of(spreading.spread(model, places), tokenizer, family))


@cache
def whole_forward(name: str, layers: int = 3) -> Forward:
    model, tokenizer = tiny_model(name, layers=layers, dtype=torch.float64)
    return Forward(ModelAdapter.of(model, tokenizer, family_for(model.config)))


def said(forward: Forward) -> list[list[int]]:
    prompts = [Prompt(0, forward.host.encoder.prompt(text), 2) for text in PROMPTS]
    return [each.tokens for each in Generator(forward, max_tokens=60).continued([()], prompts)]


def check(name: str, editors: Sequence[str], tmp_path: Path, **edits: int) -> None:
    """Base model, edits and edited models on several devices against those on one."""
    whole = whole_forward(name)
    expected = {editor: answers(editor, whole, tmp_path, **edits) for editor in editors}
    with several_devices():
        spread = spread_forward(name)
        assert spread.host.is_spread
        assert set(spread.host.devices) == set(GPUS)
        for editor, values in expected.items():
            found = answers(editor, spread, tmp_path, **edits)
            assert found == pytest.approx(values, abs=tolerance(whole)), editor


@pytest.mark.parametrize("name", ALL)
def test_every_family_is_edited_as_on_one_device(name: str, tmp_path: Path) -> None:
    check(name, ["grace"] if name in EXPERTS else ["rome"], tmp_path, cases=1)
    expected = said(whole_forward(name))
    with several_devices():
        assert said(spread_forward(name)) == expected


@pytest.mark.parametrize("name", ["gpt2", "bloom"])
def test_layers_on_two_devices_are_edited_together(name: str, tmp_path: Path) -> None:
    check(name, ["memit", "grace", "ft-l"], tmp_path, cases=1)


@pytest.mark.parametrize("name", [each.name for each in shipped_editors() if each.name not in TRAINED])
def test_every_editor_edits_as_on_one_device(name: str, tmp_path: Path) -> None:
    edits = 2 if name in ("memit", "alphaedit", "lora", "grace") else 1
    check("llama", [name], tmp_path, edits=edits, cases=1)


def shares(places: dict[str, torch.device], model: Any) -> list[float]:
    """The part of the weights that each device has."""
    held = dict.fromkeys(GPUS, 0)
    for name, parameter in model.named_parameters():
        (place,) = {place for module, place in places.items() if f"{name}.".startswith(f"{module}.")}
        held[place] += parameter.numel()
    return [held[gpu] / sum(held.values()) for gpu in GPUS]


@pytest.mark.parametrize(
    ("free", "least"), [([PLENTY, PLENTY], [0.35, 0.35]), ([300_000, PLENTY], [0.1, 0.6]), ([30_000, 30_000], None)]
)
def test_each_device_gets_an_even_share_of_whole_blocks(free: list[int], least: list[float] | None) -> None:
    model, _ = tiny_model("llama", layers=12)
    places = spreading.device_map(model, "model.layers", torch.float32, GPUS, free)
    if least is None:
        assert places is None
        return
    assert places is not None
    assert all(found >= bound for found, bound in zip(shares(places, model), least, strict=True))
    numbers = [GPUS.index(places[f"model.layers.{layer}"]) for layer in range(12)]
    assert numbers == sorted(numbers)
    assert places["model.embed_tokens"] == GPUS[0]
    assert places["lm_head"] == GPUS[-1]


def test_tied_weights_stay_together() -> None:
    model, _ = tiny_model("llama", layers=12, tie=True)
    places = spreading.device_map(model, "model.layers", torch.float32, GPUS, [PLENTY, PLENTY])
    assert places is not None
    assert places["model.embed_tokens"] == places["lm_head"]


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., EngineSession]]:
    """Opens a session where two devices have so many bytes free each."""
    monkeypatch.setenv("EDITPITFALLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "several_gpus", lambda: GPUS)
    directory = save_tiny(tmp_path / "tiny", "llama", layers=6)

    def opened(free: int, said: list[str], **settings: Any) -> EngineSession:
        for module in (placement, spreading, models):
            monkeypatch.setattr(module, "available_memory", lambda _: free)
        return EngineSession.open(EngineSettings(str(directory), dtype="float64", **settings), said.append)

    with several_devices():
        yield opened


def test_auto_spreads_a_model_that_does_not_fit(two_gpus: Callable[..., EngineSession]) -> None:
    said: list[str] = []
    settings = {"rome": {"v_num_grad_steps": "2", "mom2_adjustment": "false", "context_templates": "['{}']"}}
    session = two_gpus(900_000, said, overrides=settings, batch_size=4)
    assert session.host.devices == GPUS
    assert any("on 2 GPUs (cpu:1 to cpu:2)" in line for line in said)
    assert session.describe("rome")["model"]["device"] == "cpu:1 and 1 more"
    (scores,) = session.run("rome", [PROGRAM])
    assert scores.error is None
    alone = two_gpus(PLENTY, [], overrides=settings, batch_size=4)
    assert not alone.host.is_spread
    assert alone.fingerprint == session.fingerprint
    (expected,) = alone.run("rome", [PROGRAM])
    for found, other in zip(scores.probes, expected.probes, strict=True):
        assert found.probabilities == pytest.approx(other.probabilities, abs=1e-9)


def test_auto_is_one_device_where_the_model_fits(two_gpus: Callable[..., EngineSession]) -> None:
    assert not two_gpus(PLENTY, []).host.is_spread


def test_what_fits_on_no_number_of_gpus_is_refused(two_gpus: Callable[..., EngineSession]) -> None:
    with pytest.raises(UsageError, match=r"the model does not fit: .* on 2 GPUs") as raised:
        two_gpus(100_000, [])
    assert "nf4" in str(raised.value)


def test_editors_that_need_one_device_are_refused_by_name(two_gpus: Callable[..., EngineSession]) -> None:
    session = two_gpus(900_000, [])
    EDITORS.add("mine", lambda model, tokenizer, requests: model, origin="a test")
    try:
        with pytest.raises(UsageError, match=r"mine cannot edit a model that lies on several devices \(cpu:1, cpu:2\)"):
            session.prepare("mine")
    finally:
        EDITORS.forget_added()


def test_a_trained_network_edits_as_on_one_device(tmp_path: Path) -> None:
    job, whole = EditJob("case", 1, (REQUESTS[0],)), whole_forward("llama", layers=4)
    network = trained(whole)
    (expected,) = make_mend(whole, tmp_path, network).edit([job])
    with several_devices():
        (found,) = make_mend(spread_forward("llama", layers=4), tmp_path, network).edit([job])
        assert found.error is None
        for change, other in zip(found.model, expected.model, strict=True):
            assert change.module == other.module
            assert torch.allclose((change.u @ change.v.transpose(0, 1)).cpu(), other.u @ other.v.T, atol=1e-9)
