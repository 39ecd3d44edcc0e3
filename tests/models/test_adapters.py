"""LoRA adapters: merged as peft merges them, told on the screen, the same with and without peft, or refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import metaspace_tokenizer, save_tiny
from transformers import AutoModelForCausalLM

from pytest_editpitfalls.engine.models import fingerprint, load, resolve, workers_estimate
from pytest_editpitfalls.errors import UsageError

DOWN = "base_model.model.model.layers.{}.mlp.down_proj"


def write_adapter(directory: Path, base: Path | str, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    values = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base)}
    values |= {"r": 4, "lora_alpha": 64, "target_modules": ["down_proj"], "inference_mode": True, "bias": "none"}
    (directory / "adapter_config.json").write_text(json.dumps({**values, **config}))
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    return directory


def down_projections(layers: int = 2, rank: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    """Factors for the tiny Llama's down-projections, (32, 96)."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"lora_A": (rank, 96), "lora_B": (32, rank)}
    return {
        f"{DOWN.format(layer)}.{factor}.weight": torch.randn(shape, generator=generator)
        for layer in range(layers)
        for factor, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "llama", "llama", layers=2)


@pytest.fixture(params=["beside the config", "alone"])
def made(request: pytest.FixtureRequest, llama: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes an adapter of the tiny Llama beside its config, or into a directory of its own."""

    def make(tensors: dict[str, torch.Tensor] | None = None, **config: Any) -> Path:
        directory = tmp_path / "m"
        if request.param == "beside the config":
            shutil.copytree(llama, directory)
        return write_adapter(directory, llama, down_projections() if tensors is None else tensors, **config)

    return make


def loaded(path: Path, said: list[str] | None = None, **options: Any) -> Any:
    source = resolve(str(path), cache_dir=path.parent / "cache")
    return load(source, device="cpu", announce=None if said is None else said.append, **options)


@pytest.mark.parametrize("peft", [True, False])
def test_merged_and_told_with_and_without_peft(
    made: Callable[..., Path], llama: Path, peft: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What transformers would do by itself depends on whether peft is there."""
    monkeypatch.setattr("transformers.models.auto.auto_factory.is_peft_available", lambda: peft)
    monkeypatch.setattr("transformers.integrations.peft.is_peft_available", lambda: peft)
    said: list[str] = []
    tensors, path = down_projections(), made()
    model, _ = loaded(path, said)
    before = load_file(llama / "model.safetensors")
    for layer in range(2):
        a, b = (tensors[f"{DOWN.format(layer)}.lora_{factor}.weight"] for factor in "AB")
        expected = before[f"model.layers.{layer}.mlp.down_proj.weight"] + b @ a * 16
        assert torch.equal(model.model.layers[layer].mlp.down_proj.weight, expected)
    assert said == [f"merged the LoRA adapter of {path} into the model: 2 matrices"]
    assert not any("lora" in name for name, _ in model.named_modules())


def test_an_adapter_has_a_fingerprint_of_its_own(made: Callable[..., Path], llama: Path) -> None:
    path = made()
    source = resolve(str(path), cache_dir=path.parent / "cache")
    assert source.short_name == "m"
    first = fingerprint(*load(source, device="cpu"), source)
    base = resolve(str(llama), cache_dir=path.parent / "cache")
    assert first != fingerprint(*load(base, device="cpu"), base)
    save_file(down_projections(seed=1), path / "adapter_model.safetensors", metadata={"format": "pt"})
    assert fingerprint(*load(source, device="cpu"), source) != first


_PATTERNS = {"rank_pattern": {"layers.1.mlp.down_proj": 2}, "alpha_pattern": {"down_proj": 5}}


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("llama", {"target_modules": ["down_proj", "q_proj"]}),
        ("llama", {"target_modules": ["down_proj"], "use_rslora": True}),
        ("llama", {"target_modules": ["down_proj", "up_proj"], **_PATTERNS}),
        ("llama", {"target_modules": ["o_proj"], "modules_to_save": ["lm_head", "embed_tokens"]}),
        ("gemma2", {"target_modules": ["o_proj"], "modules_to_save": ["lm_head"]}),
        ("llama", {"target_modules": ["down_proj"], "bias": "all"}),
        ("llama", {"target_modules": ["embed_tokens", "down_proj"]}),
        ("gpt2", {"target_modules": ["c_proj", "c_attn"], "fan_in_fan_out": True}),
        ("gpt2", {"target_modules": ["c_proj"], "bias": "lora_only"}),
        ("opt", {"target_modules": ["fc1", "fc2"]}),
        ("phi3", {"target_modules": "all-linear"}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_merged_as_peft_merges(family: str, config: dict[str, Any], dtype: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft says what a merged model is")
    base = save_tiny(tmp_path / "base", family, layers=2)
    torch.manual_seed(1)
    trained = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), peft.LoraConfig(**{"r": 4, "lora_alpha": 24, **config})
    )
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if parameter.requires_grad or "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    trained.save_pretrained(tmp_path / "adapter")

    model, _ = loaded(tmp_path / "adapter", dtype=dtype)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype))
    unmerged = {name: value.clone() for name, value in plain.state_dict().items()}
    expected = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").merge_and_unload().state_dict()
    found = model.state_dict()
    assert found.keys() == expected.keys()
    assert any(not torch.equal(value, unmerged[name]) for name, value in found.items())
    assert [name for name, value in found.items() if not torch.equal(value, expected[name].to(value.dtype))] == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "IA3"}, "an adapter of the method IA3: only plain LoRA"),
        ({"peft_type": None}, "only plain LoRA"),
        ({"use_dora": True}, "use_dora = True: only plain LoRA"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights = 'pissa_niter_4', which changes the base model"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
        ({"lora_bias": True}, "lora_bias"),
        ({"some_day": {"ranks": [1]}}, "some_day"),
        ({"r": 8}, "rank 8 and the base model ask for"),
        ({"alpha_pattern": {"(": 1}}, "its adapter cannot be loaded"),
        ({"r": "many"}, "its adapter cannot be loaded"),
    ],
)
def test_what_is_not_plain_lora_is_refused_by_name(
    made: Callable[..., Path], config: dict[str, Any], message: str
) -> None:
    path = made(**config)
    with pytest.raises(UsageError, match=message) as caught:
        loaded(path)
    assert caught.value.fix


def _without(factor: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in down_projections().items() if f"layers.1.mlp.down_proj.{factor}" not in name}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "has no LoRA weights"),
        (down_projections(layers=3), r"layers\.2\.mlp\.down_proj\.lora_A\.weight' has no place in the base model"),
        (_without("lora_A"), r"lora_B\.weight' has no place"),
        (_without("lora_B"), r"lora_A\.weight' has no place"),
        ({f"{DOWN.format(0)}.lora_magnitude_vector": torch.ones(32)}, "has no place"),
        ({f"{DOWN.format(0)}.{f}.weight": torch.ones(4, 4) for f in ("lora_A", "lora_B")}, r"shapes \(4, 4\)"),
        (
            {**down_projections(), "base_model.model.lm_head.weight": torch.ones(601, 32)},
            r"lm_head\.weight has the shape \(601, 32\), .* \(600, 32\)",
        ),
    ],
)
def test_an_adapter_of_another_model(made: Callable[..., Path], tensors: dict[str, torch.Tensor], message: str) -> None:
    path = made(tensors)
    with pytest.raises(UsageError, match=message) as caught:
        loaded(path)
    assert caught.value.fix
    assert str(path) in str(caught.value.where)


def test_a_weight_that_two_modules_share_is_not_changed(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", "gpt2")
    prefix = "base_model.model.transformer.wte.lora_embedding"
    tensors = {f"{prefix}_A": torch.ones(4, 400), f"{prefix}_B": torch.ones(32, 4)}
    path = write_adapter(tmp_path / "m", base, tensors)
    with pytest.raises(UsageError, match=r"merged it would change all .* transformer\.wte\.weight, lm_head\.weight"):
        loaded(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / "adapter_config.json").write_text("{"), "the adapter's config is damaged"),
        (lambda path: (path / "adapter_config.json").write_text("[]"), "the adapter's config is damaged"),
        (lambda path: (path / "adapter_model.safetensors").unlink(), r"no adapter_model\.safetensors"),
        (
            lambda path: (path / "adapter_model.safetensors").rename(path / "adapter_model.bin"),
            "only pickled weights, and a pickle can run code",
        ),
        (lambda path: (path / "adapter_model.safetensors").write_bytes(b"12345678"), "the adapter cannot be read"),
    ],
)
def test_a_damaged_adapter(made: Callable[..., Path], spoil: Callable[[Path], Any], message: str) -> None:
    path = made()
    spoil(path)
    with pytest.raises(UsageError, match=message):
        loaded(path)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (None, "does not name its base model"),
        ("/nowhere/base", r"its base model '/nowhere/base' is not found"),
        ("some-base", r"its base model 'some-base' is not found"),
    ],
)
def test_the_base_is_not_found(base: str | None, message: str, tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "m", "", down_projections(), base_model_name_or_path=base)
    with pytest.raises(UsageError, match=message) as caught:
        resolve(str(path))
    assert "base_model_name_or_path" in str(caught.value.fix)


def test_a_base_in_the_current_directory(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As peft reads it; also where it is called like a short name."""
    shutil.copytree(llama, tmp_path / "gpt2")
    monkeypatch.chdir(tmp_path)
    path = write_adapter(tmp_path / "m", "gpt2", down_projections())
    assert resolve(str(path)).path == tmp_path / "gpt2"


def test_adapters_on_one_another_are_refused(llama: Path, tmp_path: Path) -> None:
    lower = write_adapter(tmp_path / "lower", llama, down_projections())
    path = write_adapter(tmp_path / "m", lower, down_projections())
    with pytest.raises(UsageError, match="on top of another one"):
        resolve(str(path))


def test_the_base_may_be_on_the_hub(tmp_path: Path) -> None:
    source = resolve(str(write_adapter(tmp_path / "m", "some/base", down_projections(), revision="v2")))
    assert (source.kind, source.hub_id, source.revision, source.short_name) == ("hub", "some/base", "v2", "m")


def test_the_tokenizer_beside_the_adapter_counts(llama: Path, tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "m", llama, down_projections())
    assert loaded(path)[1].model_max_length != 77
    tokenizer = metaspace_tokenizer()
    tokenizer.model_max_length = 77
    tokenizer.save_pretrained(path)
    assert loaded(path)[1].model_max_length == 77


def test_workers_have_copies_of_what_an_adapter_changes(made: Callable[..., Path], llama: Path) -> None:
    plain, adapted = (workers_estimate(str(path), None, "cpu", 2) for path in (llama, made()))
    assert plain is not None
    assert adapted is not None
    assert (adapted.shared_bytes, adapted.copied) == (0, "a copy of the weights each, for the adapter")
    assert adapted.private_bytes == plain.private_bytes + plain.shared_bytes
