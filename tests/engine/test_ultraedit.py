"""UltraEdit: against the equations in place, batches, chains, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.editing.interface import EditJob
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.editors.ultraedit.editor import UltraEdit, warm_up_facts
from pytest_editpitfalls.engine.editors.ultraedit.hyperparameters import UltraEditHyperparameters
from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.program import EditRequest
from tests.engine import naive
from tests.engine.conftest import make_forward
from tests.engine.token_gradient_editors import (
    REQUESTS,
    Plain,
    assert_close,
    check_bad_request,
    check_batched,
    check_chain,
    check_not_finite,
    matrices,
    resources,
)
from tests.tiny_models import tiny_model

FAMILIES = ["gpt2", "llama", "gpt_neox", "gemma3"]


def make(forward: Forward, tmp_path: Path, **values: Any) -> UltraEdit:
    values = {"layers": (2, 3), "lr": 0.02, "warm_up": 4} | values
    return UltraEdit(UltraEditHyperparameters(**values), resources(forward, tmp_path))


@pytest.mark.parametrize("warm_up", [0, 5])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_chain_is_the_plain_way_s(name: str, warm_up: int, tmp_path: Path) -> None:
    """With the moments that the first step left."""
    forward = make_forward(name, torch.float64)
    editor = make(forward, tmp_path, warm_up=warm_up)
    plain = Plain(forward.host, editor.weights(), 0.02, warm_up)
    check_chain(editor, plain)
    assert max(float(update.norm()) for update in plain.updates.values()) > 1e-3


@pytest.mark.parametrize("name", FAMILIES)
def test_batched_equals_one_by_one(name: str, tmp_path: Path) -> None:
    forward = make_forward(name, torch.float64)
    check_batched(forward, make(forward, tmp_path))


def test_a_case_s_moments_are_its_own(tmp_path: Path) -> None:
    editor = make(make_forward("gpt2"), tmp_path)
    first = editor.edit([EditJob("a", 1, (REQUESTS[0],))])[0]
    editor.edit([EditJob("b", 1, (REQUESTS[1],))])
    assert_close(matrices(editor.edit([EditJob("a", 1, (REQUESTS[0],))])[0]), matrices(first))
    more = editor.edit([EditJob("a", 2, (REQUESTS[1],), first.model, first.state)])[0]
    fresh = editor.edit([EditJob("a", 2, (REQUESTS[1],), first.model)])[0]
    with pytest.raises(AssertionError):
        assert_close(matrices(more, len(first.model)), matrices(fresh, len(first.model)), 1e-4)


def test_it_edits(tmp_path: Path) -> None:
    """The target becomes likelier, step by step."""
    forward = make_forward("llama", torch.float64)
    plain = Plain(forward.host, make(forward, tmp_path).weights(), 0.02, 4)
    before = naive.mean_log_prob(plain.model, plain.tokenizer, REQUESTS[1].question, REQUESTS[1].target_new)
    plain.edit([REQUESTS[1]])
    assert (
        naive.mean_log_prob(plain.model, plain.tokenizer, REQUESTS[1].question, REQUESTS[1].target_new) > before + 0.1
    )


def test_one_bad_request_is_an_error_of_its_own(tmp_path: Path) -> None:
    check_bad_request(make(make_forward("gpt2"), tmp_path))


def test_one_token_has_no_spread_without_a_warm_up(tmp_path: Path) -> None:
    forward = make_forward("gpt2")
    one = EditRequest("The capital of {} is", "France", "the")
    assert len(forward.host.encoder.target(one.target_new, one.joiner)) == 1
    module = forward.host.down_projection_path(2)
    (result,) = make(forward, tmp_path, layers=(), edit_modules=(module,), warm_up=0).edit([EditJob("a", 1, (one,))])
    assert "one token has no spread" in str(result.error)
    assert make(forward, tmp_path).edit([EditJob("a", 1, (one,))])[0].error is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("transformer.h.2.mlp.down", "has no module 'transformer.h.2.mlp.down'"),
        ("transformer.h.2.ln_1", "'transformer.h.2.ln_1' is a LayerNorm and has no matrix to edit"),
        ("lm_head", r"ultraedit.edit_modules: 'lm_head' is in none of the model's blocks.*\n.*transformer.h.0.mlp"),
    ],
)
def test_a_module_that_cannot_be_edited_is_told(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        make(make_forward("gpt2"), tmp_path, layers=(), edit_modules=(name,))


def test_a_matrix_that_is_named_twice_is_told(tmp_path: Path) -> None:
    name = "transformer.h.2.mlp.c_proj"
    for again in (name, f"{name}.weight"):
        with pytest.raises(UsageError, match=rf"'{name}' is named twice"):
            make(make_forward("gpt2"), tmp_path, layers=(), edit_modules=(name, again))


def test_a_job_that_is_not_finite_is_an_error_of_its_own(tmp_path: Path) -> None:
    check_not_finite(make(make_forward("gpt2"), tmp_path))


def test_a_preset_s_matrices_are_the_model_s(tmp_path: Path) -> None:
    """The published ones of Llama-3-8B, on a tiny model of its depth; layers take their place where they are given."""
    model, tokenizer = tiny_model("llama", layers=32, hidden=16)
    forward = Forward(ModelAdapter.of(model, tokenizer, family_for(model.config)))
    hp = resolve_hyperparameters("ultraedit", UltraEditHyperparameters, "llama-3-8b", 32)
    names = UltraEdit(hp, resources(forward, tmp_path)).weights()
    assert names[0] == "model.layers.11.mlp.gate_proj"
    assert names[-1] == "model.layers.24.mlp.up_proj"
    assert len(names) == 12
    given = {"layers": [3]}
    hp = resolve_hyperparameters("ultraedit", UltraEditHyperparameters, "llama-3-8b", 32, given)
    assert UltraEdit(hp, resources(forward, tmp_path)).weights() == ("model.layers.3.mlp.down_proj",)
    both = given | {"edit_modules": ["model.layers.3.mlp.up_proj"]}
    with pytest.raises(UsageError, match=r"layers is \[3\]; give one of the two"):
        resolve_hyperparameters("ultraedit", UltraEditHyperparameters, "llama-3-8b", 32, both)
    with pytest.raises(UsageError, match="it names no matrix, and layers names no block"):
        resolve_hyperparameters("ultraedit", UltraEditHyperparameters, "llama-3-8b", 32, {"layers": []})


def test_the_facts_of_the_warm_up_are_facts() -> None:
    facts = warm_up_facts()
    assert len(facts) == 64 == len({fact.question for fact in facts})
    assert all(fact.prompt.count("{}") == 1 for fact in facts)
