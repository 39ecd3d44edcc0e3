"""Checkpoint directories: loading, dtypes, memory, fingerprints, and everything that is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.errors
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_models import TINY, save_tiny, tiny_model

from pytest_editpitfalls.engine.models import (
    ModelSource,
    fingerprint,
    hub,
    load,
    loading,
    memory_estimate,
    placement,
    resolve,
    resolve_device,
    resolve_dtype,
)
from pytest_editpitfalls.errors import UsageError


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "llama", "llama")


@pytest.fixture
def source(llama: Path, tmp_path: Path) -> ModelSource:
    """A copy of the tiny Llama that the test may spoil."""
    shutil.copytree(llama, tmp_path / "llama")
    return resolve(str(tmp_path / "llama"), cache_dir=tmp_path / "cache")


def set_config(source: ModelSource, **values: Any) -> None:
    assert source.path is not None
    path = source.path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("name", TINY)
def test_saved_and_loaded_again(name: str, tmp_path: Path) -> None:
    """Each family passes through a directory unchanged: tied heads, biases, tokenizer."""
    source = resolve(str(save_tiny(tmp_path / name, name)), cache_dir=tmp_path / "cache")
    model, tokenizer = load(source, device="cpu")
    original, its_tokenizer = tiny_model(name)
    text = "The capital of France is Zürich"
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert ids.tolist() == its_tokenizer(text, return_tensors="pt").input_ids.tolist()
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, original(input_ids=ids).logits)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [name for name in placement.BYTES if name != "bf16-weights"])
def test_dtype_by_name(source: ModelSource, dtype: str) -> None:
    model, _ = load(source, device="cpu", dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}


def test_default_dtypes() -> None:
    assert resolve_dtype(None, torch.device("cpu"), torch.bfloat16) == torch.float32
    assert resolve_dtype(None, torch.device("cuda"), torch.bfloat16) == torch.bfloat16
    assert resolve_dtype(None, torch.device("cuda"), "float16") == torch.float16
    assert resolve_dtype(None, torch.device("cuda"), None) == torch.float32


def test_tf32_is_float32_on_a_gpu_that_has_such_products(source: ModelSource, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, capability = torch.device("cuda"), [(9, 0), (8, 0), (7, 5)]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability.pop(0))
    assert resolve_dtype("tf32", gpu, torch.bfloat16) == torch.float32
    assert resolve_dtype("tf32", gpu) == torch.float32
    with pytest.raises(UsageError, match=r"dtype=tf32: 'cuda' does not multiply in TF32: .* Ampere"):
        resolve_dtype("tf32", gpu)
    with pytest.raises(UsageError, match="'cpu' does not multiply in TF32"):
        load(source, device="cpu", dtype="tf32")


def test_bf16_weights_are_refused_where_they_would_be_slower(
    source: ModelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def capabilities(**known: object) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)

    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    capabilities(avx512_f=True, avx512_bf16=False, architecture="x86_64", l2_cache_size=1)
    with pytest.raises(UsageError, match=r"dtype=bf16-weights: 'cpu' has no fast products of bfloat16.*AMX"):
        load(source, device="cpu", dtype="bf16-weights")
    for name in ("avx512_bf16", "amx_bf16", "bf16"):
        capabilities(**{name: True})
        assert resolve_dtype("bf16-weights", cpu) == torch.bfloat16
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)  # builds that do not use the instructions
    with pytest.raises(UsageError, match="fast products"):
        resolve_dtype("bf16-weights", cpu)
    capability = [(8, 0), (7, 5)]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability.pop(0))
    assert resolve_dtype("bf16-weights", gpu, torch.float32) == torch.bfloat16
    with pytest.raises(UsageError, match="Ampere"):
        resolve_dtype("bf16-weights", gpu)


def test_an_older_torch_reads_what_linux_says_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    for text, fast in (("flags : fpu avx512f avx512_bf16 amx_tile", True), ("flags : fpu avx512f", False)):
        monkeypatch.setattr(placement.Path, "read_text", lambda *_, text=text, **__: text)
        assert placement._has_bf16_products(torch.device("cpu")) is fast


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_bf16_weights_from_any_checkpoint(stored: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms keep what the file has; matrices are rounded once, and are mapped where the file has them so."""
    monkeypatch.setattr(placement, "_has_bf16_products", lambda _: True)
    original, _ = tiny_model("llama", dtype=stored)
    place = resolve(str(save_tiny(tmp_path / "model", "llama", dtype=stored)))
    model, _ = load(place, device="cpu", dtype="bf16-weights")
    assert not any(parameter.requires_grad for parameter in model.parameters())
    for (name, found), (_, expected) in zip(model.named_parameters(), original.named_parameters(), strict=True):
        assert found.dtype == (torch.float32 if found.ndim == 1 else torch.bfloat16), name
        assert torch.equal(found, expected.to(found.dtype)), name
    estimate = memory_estimate(place, "bf16-weights", "cpu")
    assert estimate.weights_bytes == 2 * estimate.parameters


def test_memory_estimate(source: ModelSource) -> None:
    estimate = memory_estimate(source, device="cpu")
    model, _ = load(source, device="cpu")
    assert estimate.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert estimate.weights_bytes == 4 * estimate.parameters
    assert estimate.moment_bytes == 16 * model.config.intermediate_size**2
    assert estimate.fits
    assert "float32" in str(estimate)
    assert memory_estimate(source, "bfloat16", "cpu").weights_bytes == 2 * estimate.parameters
    assert not replace(estimate, available_bytes=estimate.weights_bytes).fits


def test_too_large_is_refused_before_loading(source: ModelSource, monkeypatch: pytest.MonkeyPatch) -> None:
    set_config(source, hidden_size=8192, num_hidden_layers=200, num_attention_heads=64, head_dim=128)
    monkeypatch.setattr(placement, "available_memory", lambda device: 10**9)
    with pytest.raises(UsageError, match=r"does not fit: .* GB available on cpu"):
        load(source, device="cpu")


def test_available_memory_is_plausible() -> None:
    assert 10**7 < placement.available_memory(torch.device("cpu")) < 10**14


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:1"):
        with pytest.raises(UsageError, match=f"'{name}' was asked for"):
            resolve_device(name)
    for name in ("tpu", "mps", "cuda:x"):
        with pytest.raises(UsageError, match="fix: auto, cpu, cuda"):
            resolve_device(name)


def test_unknown_dtype(source: ModelSource) -> None:
    with pytest.raises(UsageError, match="did you mean 'bfloat16'"):
        load(source, device="cpu", dtype="bfloat")


def _drop_tokenizer(path: Path) -> None:
    for file in path.glob("token*"):
        file.unlink()


def _truncate(path: Path) -> None:
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _drop_weight(path: Path) -> None:
    tensors = load_file(path / "model.safetensors")
    del tensors["model.layers.1.mlp.down_proj.weight"]
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


def _config(**values: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        (path / "config.json").write_text(json.dumps({**json.loads((path / "config.json").read_text()), **values}))

    return write


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_drop_tokenizer, "its tokenizer cannot be loaded"),
        (_truncate, "it cannot be loaded"),
        (_drop_weight, r"lacks 1 weight\(s\), for instance model\.layers\.1\.mlp\.down_proj\.weight"),
        (lambda path: (path / "model.safetensors").unlink(), "it cannot be loaded"),
        (lambda path: (path / "config.json").write_text("{"), "it cannot be loaded"),
        (_config(intermediate_size=100), "have another shape than config.json says"),
        (_config(quantization_config={"quant_method": "gptq", "bits": 4}), "quantised by gptq"),
        (_config(quantization_config={"bits": 4}), "quantised by an unnamed method"),
        (
            _config(architectures=["LlamaForSequenceClassification"]),
            "Classification, which has no head that predicts the",
        ),
        (
            _config(model_type="bert", architectures=["BertForMaskedLM"]),
            "BertForMaskedLM, which has no head that predicts",
        ),
        (
            _config(model_type="vit", architectures=["ViTModel"]),
            "no model of the type 'vit' that predicts the next token",
        ),
        (_config(model_type="qwen2_vl_text", architectures=None), "no model of the type 'qwen2_vl_text' that predicts"),
        (
            _config(model_type="aya_vision", architectures=["AyaVisionForConditionalGeneration"]),
            "'aya_vision' is not known",
        ),
        (_config(model_type="t5", is_encoder_decoder=True), "encoder-decoder"),
        (_config(model_type="mamba", architectures=["MambaForCausalLM"]), "docs/families.md"),
        (_config(model_type="brand_new"), "transformers does not know its architecture"),
        (_config(model_type="own", auto_map={"AutoConfig": "own.Config"}), "needs code from its repository"),
    ],
)
def test_unsuitable_checkpoints(source: ModelSource, spoil: Callable[[Path], None], message: str) -> None:
    assert source.path is not None
    spoil(source.path)
    with pytest.raises(UsageError, match=message) as caught:
        load(source, device="cpu")
    assert "fix:" in str(caught.value)


class _Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self) -> Any:
        return Path.touch, (self.touched,)


def test_pickled_weights_are_refused_and_not_loaded(source: ModelSource, tmp_path: Path) -> None:
    assert source.path is not None
    touched = tmp_path / "touched"
    torch.save({"weights": _Evil(touched)}, source.path / "pytorch_model.bin")
    load(source, device="cpu")  # safetensors are taken where there are any
    (source.path / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"pickled \(\.bin\)") as caught:
        load(source, device="cpu")
    assert "save_pretrained" in str(caught.value)
    assert not touched.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "../outside.safetensors", "/outside.safetensors", ""])
def test_an_index_that_leads_elsewhere_is_refused(source: ModelSource, name: str) -> None:
    assert source.path is not None
    (source.path / "model.safetensors").rename(source.path.parent / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": name}}
    (source.path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match=r"is no \.safetensors file beside the index"):
        load(source, device="cpu")


@pytest.mark.parametrize("text", ["", "[]", '{"weight_map": 1}', '{"weight_map": ' + "[" * 100_000, "\0", "\ufeff"])
def test_a_damaged_index_is_refused(source: ModelSource, text: str) -> None:
    assert source.path is not None
    (source.path / "model.safetensors").unlink()
    (source.path / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="the index of the weights is damaged"):
        load(source, device="cpu")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"transformers_weights": "adapter_model.bin"}, "pickled"),
        ({"attn_implementation": "somebody/their-kernel"}, "which is not run"),
        ({"model_type": "llava", "text_config": {"num_hidden_layers": 20_000}}, "20000 blocks, more than 10000"),
    ],
)
def test_a_config_cannot_ask_for_code_or_endless_blocks(
    source: ModelSource, values: dict[str, Any], message: str
) -> None:
    set_config(source, **values)
    with pytest.raises(UsageError, match=message):
        load(source, device="cpu")


def test_code_of_a_repository_is_not_run(source: ModelSource, tmp_path: Path) -> None:
    """Neither for config, model nor tokenizer, and nobody is asked."""
    assert source.path is not None
    (source.path / "own.py").write_text(f"open({str(tmp_path / 'touched')!r}, 'w')")
    set_config(source, auto_map={"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"})
    path = source.path / "tokenizer_config.json"
    values = {**json.loads(path.read_text()), "auto_map": {"AutoTokenizer": ["own.T", "own.T"]}}
    path.write_text(json.dumps(values))
    load(source, device="cpu")  # a known architecture: transformers' own code is used
    assert not (tmp_path / "touched").exists()


def test_fingerprint_changes_with_one_weight(source: ModelSource) -> None:
    model, tokenizer = load(source, device="cpu")
    first = fingerprint(model, tokenizer)
    assert len(first) == 64
    assert first == fingerprint(*load(source, device="cpu"))
    assert first != fingerprint(*load(source, device="cpu", dtype="float64"))
    with torch.no_grad():
        model.model.layers[2].mlp.up_proj.weight[3, 5] += 1e-6
    assert first != fingerprint(model, tokenizer)


def test_fingerprint_changes_with_the_tokenizer(source: ModelSource) -> None:
    model, tokenizer = load(source, device="cpu")
    first = fingerprint(model, tokenizer)
    tokenizer("Paris", max_length=4, truncation=True)
    assert first == fingerprint(model, tokenizer), "a call's truncation is not part of the tokenizer"
    tokenizer.add_tokens(["Paris"])
    assert first != fingerprint(model, tokenizer)


def test_fingerprint_is_remembered_until_a_file_changes(source: ModelSource) -> None:
    assert source.path is not None
    model, tokenizer = load(source, device="cpu")
    first = fingerprint(model, tokenizer, source)
    memos = list((source.cache / "fingerprints").iterdir())
    assert [memo.read_text() for memo in memos] == [first]
    memos[0].write_text("remembered")
    assert fingerprint(model, tokenizer, source) == "remembered"
    tensors = load_file(source.path / "model.safetensors")
    tensors["model.norm.weight"] += 1
    save_file(tensors, source.path / "model.safetensors", metadata={"format": "pt"})
    assert fingerprint(*load(source, device="cpu"), source) not in (first, "remembered")


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        ("GatedRepoError", "access to 'openai-community/gpt2-xl' is restricted"),
        ("RepositoryNotFoundError", "did you mean 'gpt2-xl'"),
        ("RevisionNotFoundError", "has no revision"),
        ("LocalEntryNotFoundError", "hf download openai-community/gpt2-xl"),
        ("OfflineModeIsEnabled", "Hugging Face cannot be reached"),
    ],
)
def test_hub_errors(cause: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers raises OSError from the hub's errors; the user reads what it means."""
    kind = getattr(huggingface_hub.errors, cause)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("long text about the hub") from kind.__new__(kind)

    monkeypatch.setattr(hub, "unreachable", lambda: None)
    monkeypatch.setattr(loading, "refuse_hub_adapter", lambda source: None)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", refuse)
    with pytest.raises(UsageError, match=message) as caught:
        load(resolve("gpt2-xl", cache_dir=tmp_path), device="cpu")
    assert "model 'gpt2-xl'" in str(caught.value)
