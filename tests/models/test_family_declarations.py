"""Every family's declaration against a tiny model of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import TINY, save_tiny, tiny_model

from pytest_editpitfalls.engine import families as table
from pytest_editpitfalls.engine.declared_paths import check_paths
from pytest_editpitfalls.engine.families import Family, family_for
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError

PROMPT = "The capital of France is Paris and the queen of Spain"

ONE_MLP = [name for name, tiny in TINY.items() if tiny.model_type not in ("mixtral", "qwen3_moe")]
"""Models without experts."""


def run(model: Any, tokenizer: Any) -> torch.Tensor:
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


@pytest.mark.parametrize("name", TINY)
def test_paths_resolve_in_every_block(name: str) -> None:
    model, _ = tiny_model(name, layers=3)
    family = family_for(model.config)
    blocks = model.get_submodule(family.blocks)
    assert len(blocks) == 3 == model.config.get_text_config(decoder=True).num_hidden_layers
    assert model.config.model_type in family.model_types
    assert family.mixture is (name not in ONE_MLP)
    for block in blocks:
        assert block.get_submodule(family.attention_output).weight.ndim == 2
        block.get_submodule(family.mlp)
        if family.mixture:
            continue
        assert block.get_submodule(family.down_projection).weight.ndim == 2
        assert family.up_projections
        for path in family.up_projections:
            assert block.get_submodule(path).weight.ndim == 2


@pytest.mark.parametrize("name", ONE_MLP)
def test_down_projection_feeds_the_mlp_output(name: str) -> None:
    """Its input is as wide as the MLP, its output is the MLP's output, one row per token."""
    model, tokenizer = tiny_model(name)
    family = family_for(model.config)
    block = model.get_submodule(family.blocks)[1]
    down = block.get_submodule(family.down_projection)
    seen: dict[str, torch.Tensor] = {}

    def keep(where: str) -> Any:
        # Copied: Falcon adds the attention's output to the MLP's output in place.
        return lambda module, args, output: seen.update({where: output.clone(), f"{where} in": args[0].clone()})

    handles = [down.register_forward_hook(keep("down"))]
    if family.mlp and name != "bloom":  # whose MLP adds the residual stream itself
        handles.append(block.get_submodule(family.mlp).register_forward_hook(keep("mlp")))
    logits = run(model, tokenizer)
    for handle in handles:
        handle.remove()
    tokens = logits.shape[1]
    d_o = model.config.get_text_config(decoder=True).hidden_size
    assert seen["down"].shape[-1] == d_o
    assert seen["down"].numel() == tokens * d_o
    assert seen["down in"].shape[-1] == down.weight.numel() // d_o
    if "mlp" in seen:
        assert torch.equal(seen["mlp"], seen["down"])
    elif not family.mlp:
        assert seen["down"].shape == (tokens, d_o)


@pytest.mark.parametrize("name", ONE_MLP)
def test_up_projections_are_all_that_the_down_projection_hears_of(name: str) -> None:
    """Its input is made of nothing else; all of them get one input, as wide as the residual stream."""
    model, tokenizer = tiny_model(name)
    family = family_for(model.config)
    block = model.get_submodule(family.blocks)[1]
    ups = [block.get_submodule(path) for path in family.up_projections]
    inputs: list[torch.Tensor] = []
    keys: list[torch.Tensor] = []

    def watch(module: Any, args: tuple[torch.Tensor, ...]) -> None:
        inputs.append(args[0].clone())

    handles = [up.register_forward_pre_hook(watch) for up in ups]
    handles.append(
        block.get_submodule(family.down_projection).register_forward_pre_hook(
            lambda m, args: keys.append(args[0].clone())
        )
    )
    run(model, tokenizer)
    assert all(each.shape[-1] == model.config.get_text_config(decoder=True).hidden_size for each in inputs)
    assert all(torch.equal(each, inputs[0]) for each in inputs)
    # With the outputs held at 0, what was asked of the model no longer matters.
    handles += [up.register_forward_hook(lambda m, a, output: torch.zeros_like(output)) for up in ups]
    run(model, tokenizer)
    for handle in handles:
        handle.remove()
    held = keys[1].reshape(-1, keys[1].shape[-1])
    assert keys[0].std() > 0
    assert torch.equal(held, held[:1].expand_as(held))


@pytest.mark.parametrize("name", ONE_MLP)
def test_what_stands_behind_the_mlp_is_declared_as_it_is(name: str) -> None:
    """Twice the down-projection's output moves the block's output by a factor of that output, unless a norm follows."""
    model, tokenizer = tiny_model(name)
    family = family_for(model.config)
    block = model.get_submodule(family.blocks)[1]
    seen: dict[str, torch.Tensor] = {}

    def hidden_states(output: Any) -> torch.Tensor:
        return output[0] if isinstance(output, tuple) else output

    watch = block.register_forward_hook(lambda m, a, output: seen.update(block=hidden_states(output).clone()))
    down = block.get_submodule(family.down_projection)
    keep = down.register_forward_hook(lambda m, a, output: seen.update(value=output.clone()))
    run(model, tokenizer)
    before, value = seen["block"], seen["value"].view_as(seen["block"])
    keep.remove()
    double = down.register_forward_hook(lambda m, a, output: 2 * output)
    run(model, tokenizer)
    for handle in (watch, double):
        handle.remove()
    moved_by_value = torch.allclose(seen["block"] - before, family.mlp_factor * value, atol=1e-4)
    assert moved_by_value is not family.norm_after_mlp


@pytest.mark.parametrize("name", TINY)
def test_tiny_models_are_sensitive_and_reproducible(name: str) -> None:
    """Logits differ between tokens, seeds matter, and float64 agrees with float32."""
    model, tokenizer = tiny_model(name, seed=1)
    logits = run(model, tokenizer)
    assert logits.std() > 1
    assert torch.equal(logits, run(*tiny_model(name, seed=1)))
    assert not torch.allclose(logits, run(*tiny_model(name, seed=2)), atol=0.1)
    double = run(*tiny_model(name, seed=1, dtype=torch.float64))
    assert torch.allclose(logits.double(), double, atol=1e-3)


@pytest.mark.parametrize("name", ["mistral", "qwen2", "gemma2", "gemma3", "smollm3", "starcoder2"])
def test_sliding_windows_matter_in_the_tiny_models(name: str) -> None:
    """Otherwise a test of sliding windows on them would show nothing."""
    model, tokenizer = tiny_model(name)
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    assert ids.shape[1] > model.config.sliding_window
    slid = run(model, tokenizer)
    model.config.sliding_window = 512
    for module in model.modules():
        if getattr(module, "sliding_window", None) is not None:
            module.sliding_window = 512
    assert not torch.allclose(slid, run(model, tokenizer), atol=1e-2)


def test_every_row_is_found_by_its_model_type_and_is_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "families.md").read_text("utf-8")
    for name, tiny in TINY.items():
        family = family_for(tiny_model(name)[0].config)
        assert tiny.model_type in family.model_types
        if tiny.images is not None:
            assert f"`{tiny.model_type}`" in page
            continue
        ups = ", ".join(f"`{path}`" for path in family.up_projections)
        paths = "each expert's own | |" if family.mixture else f"`{family.down_projection}` | {ups} |"
        line = f"| `{tiny.model_type}` | `{family.blocks}` | {paths}"
        assert line in page, f"docs/families.md lacks {line}"


def test_unknown_architecture_points_to_the_docs() -> None:
    with pytest.raises(UsageError, match="'mamba' is not known") as caught:
        family_for(SimpleNamespace(model_type="mamba"))
    assert "docs/families.md" in str(caught.value)


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Called with model types and "module:attribute": as if other packages declared them."""

    def declare(*points: tuple[str, str]) -> None:
        found = [SimpleNamespace(name=name, value=value, dist=None) for name, value in points]
        monkeypatch.setattr(table, "entry_points", lambda group: found)
        forget()

    def forget() -> None:
        table.families.cache_clear()
        table._declared_elsewhere.cache_clear()

    yield declare
    monkeypatch.undo()
    forget()


def test_other_packages_add_families(declared: Callable[..., None]) -> None:
    """Through the entry point group, by model type; the target is imported on first use."""
    declared(("mamba", f"{__name__}:MAMBA"))
    family = family_for(SimpleNamespace(model_type="mamba"))
    assert family == MAMBA
    assert family.origin == f"a package ({__name__}:MAMBA)"
    assert family_for(SimpleNamespace(model_type="llama")).name == "llama"
    assert not family_for(SimpleNamespace(model_type="llama")).origin


def test_a_declaration_of_another_package_goes_before_one_that_ships(declared: Callable[..., None]) -> None:
    """It was there before the family shipped, perhaps: an update must not take its model away."""
    declared(("olmo2", f"{__name__}:MAMBA"))
    assert family_for(SimpleNamespace(model_type="olmo2")) == MAMBA


def test_one_line_declares_a_model_that_takes_images(declared: Callable[..., None]) -> None:
    declared(("aya_vision", "pytest_editpitfalls.engine.families:multimodal"))
    text = SimpleNamespace(model_type="gpt_neox")
    family = family_for(SimpleNamespace(model_type="aya_vision", text_config=text))
    assert (family.name, family.blocks) == ("aya_vision", "model.language_model.layers")
    assert family.down_projection == "mlp.dense_4h_to_h"


def test_two_packages_that_declare_one_model_type_are_refused(declared: Callable[..., None]) -> None:
    declared(("mamba", "here:FAMILY"), ("mamba", "elsewhere:FAMILY"))
    with pytest.raises(UsageError, match=r"\(here:FAMILY\) and a package \(elsewhere:FAMILY\): .*declared twice"):
        table.families()


def test_a_declaration_of_another_package_is_said_and_kept(declared: Callable[..., None], tmp_path: Path) -> None:
    """It decides what is edited: the run says it, the record has it."""
    directory = save_tiny(tmp_path / "gpt2", "gpt2")
    said: list[str] = []
    plain = EngineSession.open(EngineSettings(str(directory)), said.append)
    assert "declaration" not in plain.describe("ice")["model"]
    assert not [line for line in said if "declaration" in line]
    declared(("gpt2", f"{__name__}:OWN_GPT2"))
    session = EngineSession.open(EngineSettings(str(directory)), said.append)
    assert f"model type 'gpt2': the declaration of a package ({__name__}:OWN_GPT2) is used" in said
    kept = session.describe("ice")["model"]
    assert kept["family"] == "own"
    assert kept["declared_by"] == f"a package ({__name__}:OWN_GPT2)"
    assert kept["declaration"]["down_projection"] == "mlp.c_proj"
    json.dumps(kept)


def test_a_wrong_path_is_found_before_any_weight_is_read(declared: Callable[..., None], tmp_path: Path) -> None:
    directory = save_tiny(tmp_path / "gpt2", "gpt2")
    (directory / "model.safetensors").unlink()
    declared(("gpt2", f"{__name__}:WRONG_GPT2"))
    with pytest.raises(UsageError) as caught:
        EngineSession.open(EngineSettings(str(directory)))
    start = f"family 'own' of a package ({__name__}:WRONG_GPT2): the declaration does not fit GPT2LMHeadModel: down_pro"
    assert str(caught.value).startswith(start)


def _broken(config: Any) -> Family:
    return Family(config.no_such_key, (), "", "", "", "")


def _nothing(config: Any) -> None:
    return None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("_broken", "cannot read this config: AttributeError: .*no_such_key"),
        ("_nothing", "gives a NoneType, not a Family"),
        ("PROMPT", "gives a str, not a Family"),
        ("MAMBO", "has no attribute 'MAMBO'\n.*did you mean 'MAMBA'"),
    ],
)
def test_a_broken_declaration_says_whose_it_is(value: str, message: str, declared: Callable[..., None]) -> None:
    declared(("mamba", f"{__name__}:{value}"))
    with pytest.raises(UsageError, match=message) as caught:
        family_for(SimpleNamespace(model_type="mamba"))
    assert f"model type 'mamba', declared by a package ({__name__}:{value})" in str(caught.value)


def wrong(name: str, **paths: Any) -> str:
    """The message on a declaration of a tiny model with other paths than its own."""
    model, tokenizer = tiny_model(name)
    with pytest.raises(UsageError) as caught:
        Forward(ModelAdapter.of(model, tokenizer, replace(family_for(model.config), **paths)))
    return str(caught.value)


def test_all_wrong_paths_are_in_one_message_with_what_is_there() -> None:
    message = wrong(
        "olmo2",
        mlp="feed_forward",
        down_projection="mlp.dense_4h_to_h",
        attention_output="self_attn.out_proj",
        up_projections=("mlp.gate_proj", "mlp.up.weight"),
    )
    parts = message.splitlines()[0].split("; ")
    expected = [
        "family 'olmo2': the declaration does not fit Olmo2ForCausalLM: "
        "mlp 'feed_forward': Olmo2DecoderLayer ('model.layers.0') has no 'feed_forward', but post_feedforward_",
        "down_projection 'mlp.dense_4h_to_h': Olmo2MLP ('model.layers.0.mlp') has no 'dense_4h_to_h', but ",
        "attention_output 'self_attn.out_proj': Olmo2Attention ('model.layers.0.self_attn') has no 'out_proj', but o_",
        "up_projections[1] 'mlp.up.weight': Olmo2MLP ('model.layers.0.mlp') has no 'up', but up_proj",
    ]
    assert len(parts) == len(expected)
    assert all(part.startswith(start) for part, start in zip(parts, expected, strict=True)), parts
    assert all(name in parts[1] for name in ("down_proj", "up_proj", "gate_proj"))
    assert "docs/families.md" in message


def test_a_wrong_list_of_blocks_names_the_lists_there_are() -> None:
    message = wrong("llama", blocks="transformer.h", attention_output="attn.o_proj")
    assert "blocks 'transformer.h': LlamaForCausalLM has no 'transformer', but model, lm_head" in message
    assert "(lists of modules: model.layers)" in message
    assert "attention_output 'attn.o_proj': LlamaDecoderLayer ('model.layers.0') has no 'attn'" in message
    assert "blocks 'model' is a GPT2Model, not a list" not in message
    assert "blocks 'transformer' is a GPT2Model, not a list of blocks" in wrong("gpt2", blocks="transformer")


@pytest.mark.parametrize(
    ("name", "paths", "message"),
    [
        ("llama", {"down_projection": "mlp"}, "down_projection 'mlp' is a LlamaMLP, not a matrix"),
        ("llama", {"attention_output": "input_layernorm"}, "attention_output 'input_layernorm' is a LlamaRMSNorm, not"),
        ("gpt2", {"down_projection": "mlp.c_fc"}, "widths differ .* down_projection 'mlp.c_fc' returns 128"),
        ("llama", {"up_projections": ("mlp.down_proj",)}, r"widths differ .* up_projections\[0\] .* takes 96"),
        (
            "gemma3_images",
            {"blocks": "model.vision_tower.encoder.layers"},
            "has no 'down_proj', but activation_fn, fc2, fc1",
        ),
        ("gemma2", {"norm_after_mlp": False}, r"does not arrive in the output of block 0\n.*norm_after_mlp=True"),
        ("opt_post_norm", {"norm_after_mlp": False}, "'fc2' returns does not arrive in the output of block 0"),
        ("granite", {"mlp_factor": 1.0}, r"does not arrive in the output of block 0\n.*mlp_factor"),
        ("llama", {"mlp_factor": 0.5}, "does not arrive in the output of block 0, multiplied by 0.5"),
    ],
)
def test_paths_that_lead_to_something_else_are_refused(name: str, paths: dict[str, Any], message: str) -> None:
    assert re.search(message, wrong(name, **paths), re.DOTALL), wrong(name, **paths)


def test_blocks_that_text_does_not_run_through_are_refused() -> None:
    eye = {
        "blocks": "model.vision_tower.encoder.layers",
        "down_projection": "mlp.fc2",
        "attention_output": "self_attn.out_proj",
        "up_projections": ("mlp.fc1",),
    }
    assert "text does not run through block 0 of 'model.vision_tower.encoder.layers'" in wrong("gemma3_images", **eye)


def test_a_down_projection_that_is_not_called_is_refused() -> None:
    """As Bloom's with ``slow_but_exact``, which multiplies with its slices instead: edits would change nothing."""
    model, tokenizer = tiny_model("bloom")
    for block in model.transformer.h:
        block.mlp.pretraining_tp, block.mlp.slow_but_exact = 2, True
    with pytest.raises(UsageError, match=r"block 0 calls 'mlp.dense_4h_to_h' 0 times for one token"):
        Forward(ModelAdapter.of(model, tokenizer, family_for(model.config)))


def test_a_path_that_only_one_block_lacks_is_found() -> None:
    model, _ = tiny_model("llama")
    del model.model.layers[2].mlp.down_proj
    with pytest.raises(UsageError, match=r"LlamaMLP \('model.layers.2.mlp'\) has no 'down_proj'"):
        check_paths(model, family_for(model.config))


OWN_GPT2 = Family("own", ("gpt2",), "transformer.h", "mlp", "mlp.c_proj", "attn.c_proj")
WRONG_GPT2 = replace(OWN_GPT2, down_projection="mlp.down_proj")
MAMBA = Family("mamba", ("mamba",), "backbone.layers", "", "mixer.out_proj", "mixer.out_proj")
