"""Every family's declaration against a tiny model of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import TINY, tiny_model
from transformers import AutoConfig

from pytest_editpitfalls.engine.families import Family, families, family_for
from pytest_editpitfalls.errors import UsageError

PROMPT = "The capital of France is Paris and the queen of Spain"


def run(model: Any, tokenizer: Any) -> torch.Tensor:
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


@pytest.mark.parametrize("name", TINY)
def test_paths_resolve_in_every_block(name: str) -> None:
    model, _ = tiny_model(name, layers=3)
    family = family_for(model.config)
    blocks = model.get_submodule(family.blocks)
    assert len(blocks) == 3 == model.config.num_hidden_layers
    assert model.config.model_type in family.model_types
    for block in blocks:
        assert block.get_submodule(family.down_projection).weight.ndim == 2
        assert block.get_submodule(family.attention_output).weight.ndim == 2
        block.get_submodule(family.mlp)
        assert family.up_projections
        for path in family.up_projections:
            assert block.get_submodule(path).weight.ndim == 2


@pytest.mark.parametrize("name", TINY)
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
    if family.mlp:
        handles.append(block.get_submodule(family.mlp).register_forward_hook(keep("mlp")))
    logits = run(model, tokenizer)
    for handle in handles:
        handle.remove()
    tokens = logits.shape[1]
    d_o = model.config.hidden_size
    assert seen["down"].shape[-1] == d_o
    assert seen["down"].numel() == tokens * d_o
    assert seen["down in"].shape[-1] == down.weight.numel() // d_o
    if family.mlp:
        assert torch.equal(seen["mlp"], seen["down"])
    else:
        assert seen["down"].shape == (tokens, d_o)


@pytest.mark.parametrize("name", TINY)
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
    assert all(each.shape[-1] == model.config.hidden_size for each in inputs)
    assert all(torch.equal(each, inputs[0]) for each in inputs)
    # With the outputs held at 0, what was asked of the model no longer matters.
    handles += [up.register_forward_hook(lambda m, a, output: torch.zeros_like(output)) for up in ups]
    run(model, tokenizer)
    for handle in handles:
        handle.remove()
    held = keys[1].reshape(-1, keys[1].shape[-1])
    assert keys[0].std() > 0
    assert torch.equal(held, held[:1].expand_as(held))


@pytest.mark.parametrize("name", TINY)
def test_norm_after_mlp_is_declared_as_it_is(name: str) -> None:
    """Twice the down-projection's output moves the block's output by that output, unless a norm follows."""
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
    moved_by_value = torch.allclose(seen["block"] - before, value, atol=1e-4)
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


@pytest.mark.parametrize("name", ["mistral", "qwen2", "gemma2", "gemma3"])
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
    for tiny in TINY.values():
        config = AutoConfig.for_model(tiny.model_type)
        family = family_for(config)
        assert tiny.model_type in family.model_types
        ups = ", ".join(f"`{path}`" for path in family.up_projections)
        line = f"| `{tiny.model_type}` | `{family.blocks}` | `{family.down_projection}` | {ups} |"
        assert line in page, f"docs/families.md lacks {line}"


def test_unknown_architecture_points_to_the_docs() -> None:
    with pytest.raises(UsageError, match="'mamba' is not known") as caught:
        family_for(SimpleNamespace(model_type="mamba"))
    assert "docs/families.md" in str(caught.value)


def test_other_packages_add_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the entry point group, by model type; the target is imported on first use."""
    point = SimpleNamespace(name="mamba", value=f"{__name__}:MAMBA")
    monkeypatch.setattr(f"{Family.__module__}.entry_points", lambda group: [point])
    families.cache_clear()
    try:
        assert family_for(SimpleNamespace(model_type="mamba")) == MAMBA
        assert family_for(SimpleNamespace(model_type="llama")).name == "llama"
    finally:
        families.cache_clear()


def test_two_declarations_of_one_model_type_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    point = SimpleNamespace(name="llama", value="elsewhere:FAMILY")
    monkeypatch.setattr(f"{Family.__module__}.entry_points", lambda group: [point])
    families.cache_clear()
    try:
        with pytest.raises(UsageError, match="registered twice"):
            families()
    finally:
        families.cache_clear()


MAMBA = Family("mamba", ("mamba",), "backbone.layers", "", "mixer.out_proj", "mixer.out_proj")
