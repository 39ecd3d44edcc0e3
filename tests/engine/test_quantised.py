"""Edits of quantised models: what an editor gives there is what it gives on the same numbers in float32."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.kept_weights import check_before_loading, check_weights
from pytest_editpitfalls.engine.editors.shipped import shipped_editors
from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.matrices import matrix_of, matrix_shape
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.models import fingerprint, load, memory_estimate, quantising, resolve
from pytest_editpitfalls.engine.models.adapters import Adapter
from pytest_editpitfalls.engine.models.quantising import INSTALL, described
from pytest_editpitfalls.engine.quantised import multiply_exactly, plain, quantised_modules
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import compile_case
from tests.engine.quick_editors import TRAINED, answers
from tests.store.store_samples import CASE
from tests.tiny_models import save_tiny

PROGRAM = compile_case(CASE)
FORMATS = [
    pytest.param("int8", marks=pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="no torchao")),
    pytest.param(
        "nf4", marks=pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="no bitsandbytes")
    ),
]
NAMES = [each.name for each in shipped_editors() if each.name not in TRAINED]


class Eighths(nn.Parameter):
    """A weight that holds eighths as whole numbers, as a library's would: what needs no library is tested with it."""

    def dequantize(self) -> torch.Tensor:
        return self.data.float() / 8


Eighths.__module__ = "torchao.played"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blocks are as wide as a group of bitsandbytes."""
    return save_tiny(tmp_path_factory.mktemp("plain") / "llama", "llama", hidden=64)


@pytest.fixture(scope="module")
def forwards(llama: Path) -> Callable[[str], tuple[Forward, Forward]]:
    """A quantised model, and a plain one of the numbers that stand in it."""

    @cache
    def made(dtype: str) -> tuple[Forward, Forward]:
        model, tokenizer = load(resolve(str(llama)), "cpu", "float32" if dtype == "played" else dtype)
        other, _ = load(resolve(str(llama)), "cpu", "float32")
        if dtype == "played":
            for module in model.model.layers.modules():
                if isinstance(module, nn.Linear):
                    eighths = (8 * module.weight.data).round().to(torch.int8)
                    module.weight = Eighths(eighths, requires_grad=False)
            assert multiply_exactly(model) == 4 * 7
        for name, module in quantised_modules(model):
            other.get_submodule(name).weight = nn.Parameter(plain(module.weight).clone(), requires_grad=False)
        family = family_for(model.config)
        return tuple(Forward(ModelAdapter.of(each, tokenizer, family)) for each in (model, other))  # type: ignore[return-value]

    return made


@pytest.mark.parametrize(
    ("name", "dtype"),
    [pytest.param(name, *each.values, marks=each.marks) for name in NAMES for each in FORMATS]
    + [(name, "played") for name in ("rome", "memit", "grace", "ft-l", "wise", "sphere", "lora")],
)
def test_every_editor_works_with_quantised_weights_or_is_refused(
    name: str, dtype: str, forwards: Callable[[str], tuple[Forward, Forward]], tmp_path: Path
) -> None:
    quantised, same = forwards(dtype)
    declaration = EDITORS.get(name)
    if declaration.needs_plain_weights:
        with pytest.raises(UsageError, match=f"{name} cannot edit quantised weights"):
            check_weights(name, declaration, quantised.host)
        return
    check_weights(name, declaration, quantised.host)
    expected = answers(name, same, tmp_path, edits=2, cases=1)
    assert answers(name, quantised, tmp_path, edits=2, cases=1) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_session_says_that_its_weights_are_quantised(
    dtype: str, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITPITFALLS_CACHE", str(tmp_path / "cache"))
    said: list[str] = []
    settings = {"rome": {"v_num_grad_steps": "2", "context_templates": "['{}']", "mom2_tokens": "1400"}}
    session = EngineSession.open(EngineSettings(str(llama), "cpu", dtype, overrides=settings), said.append)
    (scores,) = session.run("rome", [PROGRAM])
    assert scores.error is None
    plain_session = EngineSession.open(EngineSettings(str(llama), "cpu", "float32", overrides=settings))
    model, other = session.describe("rome")["model"], plain_session.describe("rome")["model"]
    assert model["dtype"] == dtype
    assert model["quantisation"].startswith({"int8": "torchao Int8WeightOnly", "nf4": "bitsandbytes nf4"}[dtype])
    assert model["computed_in"] == other["dtype"] == "float32"
    assert "quantisation" not in other
    assert model["fingerprint"] != other["fingerprint"]
    assert model["parameters"] == other["parameters"]
    bits = {"int8": 8, "nf4": 4}[dtype]
    assert any(f"parameters in {bits} bits (embeddings and norms in float32) take 0.00 GB" in line for line in said)
    # Second moments of its own: both have computed one.
    assert len({path.name.split("-")[0] for path in (tmp_path / "cache" / "second-moments").rglob("*.safetensors")}) > 1
    # The same files, once more: what is remembered of one number format is not taken for the other.
    again = EngineSession.open(EngineSettings(str(llama), "cpu", dtype, overrides=settings))
    assert again.fingerprint == session.fingerprint
    assert session.written("rome", PROGRAM, "1").in_base == ()


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_checkpoint_that_was_saved_quantised(dtype: str, llama: Path, tmp_path: Path) -> None:
    model, tokenizer = load(resolve(str(llama), cache_dir=tmp_path), "cpu", dtype)
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    source = resolve(str(tmp_path / "saved"), cache_dir=tmp_path)
    again, _ = load(source, "cpu")
    ids = torch.arange(6)[None]
    assert torch.equal(again(input_ids=ids).logits, model(input_ids=ids).logits)
    assert described(again.config) == described(model.config)
    small, whole = memory_estimate(source, None, "cpu"), memory_estimate(resolve(str(llama)), "float32", "cpu")
    assert small.weights_bytes < whole.weights_bytes
    with pytest.raises(UsageError, match="quantised already") as raised:
        load(source, "cpu", dtype)
    assert "leave --pitfalls-dtype out" in str(raised.value)
    assert fingerprint(again, tokenizer) == fingerprint(load(source, "cpu")[0], tokenizer)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="no bitsandbytes")
def test_eight_bits_of_bitsandbytes_answer_each_row_by_itself(llama: Path, tmp_path: Path) -> None:
    """Its own products round the inputs to float16, and find outliers over all rows of a pass."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(load_in_8bit=True)
    theirs = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32, quantization_config=config)
    theirs.save_pretrained(tmp_path / "saved")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(llama / name, tmp_path / "saved")
    model, _ = load(resolve(str(tmp_path / "saved"), cache_dir=tmp_path), "cpu")
    ids = torch.arange(6)[None]
    both = torch.cat([ids, ids.flip(1)])
    alone = model(input_ids=ids).logits
    assert torch.allclose(model(input_ids=both).logits[:1], alone, atol=1e-5)
    assert float((theirs(input_ids=both).logits[:1] - theirs(input_ids=ids).logits).detach().abs().max()) > 1e-3
    other, _ = load(resolve(str(llama), cache_dir=tmp_path), "cpu", "float32")
    for name, module in quantised_modules(model):
        other.get_submodule(name).weight = nn.Parameter(plain(module.weight), requires_grad=False)
    assert torch.allclose(other(input_ids=ids).logits, alone, atol=1e-4)


@pytest.mark.parametrize("dtype", ["played", *FORMATS])
def test_a_gradient_through_quantised_weights_is_that_through_their_numbers(
    dtype: str, forwards: Callable[[str], tuple[Forward, Forward]]
) -> None:
    found = []
    for forward in forwards(dtype):
        module = forward.host.down_projection(1)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(3, 5, matrix_shape(module)[1], generator=generator).requires_grad_()
        module(x).square().sum().backward()
        assert module.weight.grad is None
        found.append((x.grad, matrix_of(module)))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-4)
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("dtype", FORMATS)
def test_editors_that_write_to_the_weights_are_refused_by_name(
    dtype: str, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    EDITORS.add("mine", lambda model, tokenizer, requests: model, origin="a test")
    EDITORS.add_checkpoint("edited", "somewhere")
    session = EngineSession.open(EngineSettings(str(llama), "cpu", dtype))
    try:
        for name in ("mine", "edited"):
            with pytest.raises(UsageError, match=f"{name} cannot edit quantised weights") as raised:
                session.prepare(name)
            assert f"--editor={name}" in str(raised.value)
            assert "any of those that ship" in str(raised.value)
            with pytest.raises(UsageError, match=f"{name} cannot edit quantised weights"):
                check_before_loading(["rome", name], [resolve(str(llama))], dtype)
    finally:
        EDITORS.forget_added()


# What needs no library


def quantised_config(directory: Path, base: Path, **entry: Any) -> Path:
    shutil.copytree(base, directory)
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": entry}))
    return directory


def test_other_quantisations_are_refused_with_what_to_do(llama: Path, tmp_path: Path) -> None:
    directory = quantised_config(tmp_path / "gptq", llama, quant_method="gptq", bits=4)
    with pytest.raises(UsageError, match="quantised by gptq, whose weights cannot be read here") as raised:
        load(resolve(str(directory)), "cpu")
    assert "--pitfalls-dtype=nf4" in str(raised.value)


def test_a_library_that_is_missing_is_named(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantising, "find_spec", lambda _: None)
    directory = quantised_config(tmp_path / "bnb", llama, quant_method="bitsandbytes", load_in_4bit=True)
    for call, library in (
        (lambda: load(resolve(str(directory)), "cpu"), "bitsandbytes"),
        (lambda: load(resolve(str(llama)), "cpu", "nf4"), "bitsandbytes"),
        (lambda: load(resolve(str(llama)), "cpu", "int8"), "torchao"),
        (lambda: check_before_loading([], [], "int8"), "torchao"),
    ):
        with pytest.raises(UsageError, match=f"{library}, which is not installed") as raised:
            call()
        assert INSTALL in str(raised.value)


def test_an_editor_is_refused_before_a_weight_is_read(llama: Path, tmp_path: Path) -> None:
    directory = quantised_config(tmp_path / "ao", llama, quant_method="bitsandbytes", load_in_8bit=True)
    EDITORS.add("mine", lambda model, tokenizer, requests: model, origin="a test")
    try:
        check_before_loading(["rome", "mine"], [resolve(str(llama))], "float32")
        with pytest.raises(UsageError, match=r"mine cannot edit quantised weights \(bitsandbytes int8\)"):
            check_before_loading(["rome", "mine"], [resolve(str(directory))], None)
    finally:
        EDITORS.forget_added()


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="no torchao")
def test_what_cannot_be_quantised_is_refused(tmp_path: Path) -> None:
    """GPT-2 keeps its matrices in modules of its own, which torchao passes over."""
    directory = save_tiny(tmp_path / "gpt2", "gpt2")
    with pytest.raises(UsageError, match="nothing of GPT2LMHeadModel was quantised"):
        load(resolve(str(directory), cache_dir=tmp_path), "cpu", "int8")


def test_an_adapter_is_not_merged_into_quantised_weights(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantising, "find_spec", lambda _: True)
    source = replace(resolve(str(llama)), adapter=Adapter(llama, {}))
    with pytest.raises(UsageError, match="a LoRA adapter cannot be merged into quantised weights"):
        load(source, "cpu", "nf4")
