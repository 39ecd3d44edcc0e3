"""Weights that checkpoint and model do not share: refused by their kind, or left out in silence where that is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_gguf import write_tiny_gguf
from tiny_models import save_tiny

from pytest_editpitfalls.engine.models import load, prepare, resolve
from pytest_editpitfalls.errors import UsageError

Weights = dict[str, torch.Tensor]


def changed(path: Path, change: Callable[[Weights], Weights], **config: Any) -> Path:
    file = path / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    values = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**values, **config}))
    return path


def renamed(old: str, new: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name.replace(old, new): value for name, value in weights.items()}


def added(*names: str) -> Callable[[Weights], Weights]:
    return lambda weights: {**weights, **{name: torch.zeros(3) for name in names}}


def same(weights: Weights) -> Weights:
    return weights


@pytest.mark.parametrize(
    ("family", "change", "config", "message"),
    [
        ("llama", renamed("model.", "module.model."), {}, r"have 'module\.' in their names .* should be model\."),
        ("llama", renamed("norm.", "_orig_mod.norm."), {}, r"have '_orig_mod\.' in their names"),
        ("llama", renamed("model.layers", "_orig_mod.model.layers"), {}, r"have '_orig_mod\.'"),
        ("llama", renamed(".mlp.", "._fsdp_wrapped_module.mlp."), {}, r"have '_fsdp_wrapped_module\.'"),
        ("llama", renamed("model.layers.", "module.layers."), {}, r"have 'module\.'"),
        ("gpt2", renamed("transformer.", "_orig_mod.transformer."), {}, r"have '_orig_mod\.'"),
        ("gpt2", lambda w: {**w, **{f"ema.{n}": v.clone() for n, v in w.items()}}, {}, r"have 'ema\.' in their names"),
        ("llama", same, {"num_hidden_layers": 2}, r"says 2 block\(s\), the checkpoint has weights of 3"),
        ("gpt2", same, {"n_layer": 1}, r"says 1 block\(s\), the checkpoint has weights of 3"),
        ("gpt2", renamed("transformer.", ""), {"n_layer": 1}, r"says 1 block\(s\), the checkpoint has weights of 3"),
        ("opt", same, {"num_hidden_layers": 2}, r"says 2 block\(s\)"),
        ("gpt_neox", same, {"num_hidden_layers": 2}, r"says 2 block\(s\)"),
        ("llama", same, {"mlp_bias": False}, r"9 bias\(es\) that its config\.json leaves out"),
        ("llama", renamed("down_proj", "down_proj.base_layer"), {}, "an adapter is saved among the model's weights"),
        ("llama", added("model.layers.0.self_attn.q_proj.lora_A.default.weight"), {}, "an adapter is saved among"),
        ("llama", added("model.layers.0.mlp.up_proj.weight_scale_inv"), {}, "quantised, though"),
        ("llama", added("model.layers.0.self_attn.q_norm.weight"), {}, "has no place for"),
        ("llama", same, {"intermediate_size": 100}, r"have another shape than config\.json says"),
        ("llama", same, {"vocab_size": 700}, r"shape .*embed_tokens|shape .*lm_head"),
        ("gpt2", same, {"n_layer": 4}, "lacks .* for instance transformer.h.3"),
    ],
)
def test_refused(
    family: str, change: Callable[[Weights], Weights], config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = changed(save_tiny(tmp_path / "m", family, layers=3), change, **config)
    with pytest.raises(UsageError, match=message) as caught:
        load(resolve(str(path), cache_dir=tmp_path / "cache"), device="cpu")
    assert caught.value.fix
    assert caught.value.where == f"model '{path}'"


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("llama", added("model.layers.0.self_attn.rotary_emb.inv_freq", "rope.freqs")),
        ("gptj", added("transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias")),
        ("gpt2", added("transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias")),
        ("gpt2", renamed("transformer.", "")),
        ("gpt2", lambda weights: {**weights, "lm_head.weight": weights["transformer.wte.weight"].clone()}),
        ("gpt_neox", added("gpt_neox.layers.0.attention.bias", "gpt_neox.layers.0.attention.rotary_emb.inv_freq")),
        ("llama", renamed("model.", "")),
        ("opt", added("model.decoder.version")),
    ],
)
def test_known_extras_stay_silent(family: str, change: Callable[[Weights], Weights], tmp_path: Path) -> None:
    said: list[str] = []
    path = save_tiny(tmp_path / "m", family, layers=2)
    source = resolve(str(path), cache_dir=tmp_path / "cache")
    plain, _ = load(source, device="cpu")
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    changed(path, change)
    model, _ = load(source, device="cpu", announce=said.append)
    assert said == []
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_head_beside_the_model_is_named(tmp_path: Path) -> None:
    """A reward model's value head changes no answer."""
    said: list[str] = []
    path = changed(save_tiny(tmp_path / "m", "llama"), added("v_head.summary.weight", "v_head.summary.bias"))
    load(resolve(str(path), cache_dir=tmp_path / "cache"), device="cpu", announce=said.append)
    (line,) = said
    assert "2 weight(s)" in line
    assert "not used, for instance v_head.summary.bias" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": 1}, "the file has 9 tensors for block 1, and the model that its header describes has 0"),
        ({"more": ("blk.0.ffn_down.bias",)}, "the file has 10 tensors for block 0, .* has 9"),
        ({"more": ("blk.1.attn_q_norm.weight",)}, "the file has 10 tensors for block 1, .* has 9"),
        ({"blocks": 3}, "lacks .* for instance model.layers.2"),
    ],
)
def test_a_gguf_file_that_its_header_does_not_describe(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    source = resolve(str(write_tiny_gguf(tmp_path / "a.gguf", **options)), cache_dir=tmp_path / "cache")
    with pytest.raises(UsageError, match=message):
        prepare(source)
    assert not [path for path in (tmp_path / "cache" / "converted").iterdir() if path.is_dir()]


def test_tables_of_a_gguf_file_stay_silent(tmp_path: Path) -> None:
    more = ("rope_freqs.weight", "blk.0.attn_rot_embd.weight")
    assert prepare(resolve(str(write_tiny_gguf(tmp_path / "a.gguf", more=more)), cache_dir=tmp_path / "cache"))
