"""UltraEdit: against the equations in place, batches, chains, and what it refuses."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_editpitfalls.engine.editing.interface import EditJob, EditResult
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
from tests.engine.test_mend import assert_close, matrices, resources
from tests.tiny_models import tiny_model

FAMILIES = ["gpt2", "llama", "gpt_neox", "gemma3"]
REQUESTS = [
    EditRequest("The capital of {} is", "France", "Rome"),
    EditRequest("{} speaks", "Danielle Darrieux", "Russian and the French of a king"),
    EditRequest("The mother of {} is", "the king", "Japan and Italy"),
]


def make(forward: Forward, tmp_path: Path, **values: Any) -> UltraEdit:
    values = {"layers": (2, 3), "lr": 0.02, "warm_up": 4} | values
    return UltraEdit(UltraEditHyperparameters(**values), resources(forward, tmp_path))


class Plain:
    """The release's way: hooks on a model that is written in place, moments that grow (RunningMeanStd), one solve."""

    def __init__(self, host: ModelAdapter, names: Sequence[str], lr: float, warm_up: int) -> None:
        self.model: Any = copy.deepcopy(host.model)
        self.tokenizer, self.names, self.lr = host.tokenizer, names, lr
        self.moments: dict[tuple[int, int], tuple[int, Tensor, Tensor]] = {}
        self.updates: dict[str, Tensor] = {}
        if warm_up:
            self.observe([self.tokens(request) for request in warm_up_facts()[:warm_up]])

    def tokens(self, request: EditRequest) -> dict[str, tuple[Tensor, Tensor]]:
        """Inputs and gradients where a target token is predicted, by module; the loss is the sum over tokens."""
        inputs: dict[str, Tensor] = {}
        found: dict[str, tuple[Tensor, Tensor]] = {}
        prompt = naive.prompt_ids(self.tokenizer, request.question)
        wanted = naive.target_ids(self.tokenizer, request.question, request.target_new)
        where = slice(len(prompt) - 1, len(prompt) + len(wanted) - 1)
        handles = []
        self.model.requires_grad_(True)
        for name in self.names:
            module = self.model.get_submodule(name)

            def keep(_m: Any, _in: Any, out: Any, name: str = name) -> None:
                found[name] = (inputs[name][where], out[0].reshape(-1, out[0].shape[-1])[where].detach())

            def read(_m: Any, args: Any, name: str = name) -> None:
                inputs[name] = args[0].detach().reshape(-1, args[0].shape[-1])

            handles += [module.register_forward_pre_hook(read), module.register_full_backward_hook(keep)]
        log_p = self.model(input_ids=torch.tensor([prompt + wanted]), use_cache=False).logits[0].log_softmax(-1)
        (-sum(log_p[len(prompt) - 1 + i, token] for i, token in enumerate(wanted))).backward()
        for handle in handles:
            handle.remove()
        return found

    def observe(self, found: list[dict[str, tuple[Tensor, Tensor]]]) -> None:
        for name in self.names:
            both = torch.cat([torch.cat(each[name], dim=1) for each in found])
            shape = (found[0][name][0].shape[1], found[0][name][1].shape[1])
            n, mean, squares = self.moments.get(shape, (0, both[0] * 0, both[0] * 0))
            more = len(both)
            step = both.mean(0) - mean
            spread = both.var(0) if more > 1 else both[0] * 0
            squares = squares + more * spread + n * more * step.pow(2) / (n + more)
            self.moments[shape] = (n + more, mean + more * step / (n + more), squares)

    def edit(self, requests: Sequence[EditRequest]) -> None:
        found = [self.tokens(request) for request in requests]
        self.observe(found)
        eps = torch.finfo(torch.float32).eps
        for name in self.names:
            x, g = (torch.cat([each[name][side] for each in found]) for side in (0, 1))
            n, mean, squares = self.moments[x.shape[1], g.shape[1]]
            std = (squares / (n - 1 + eps)).sqrt()
            both = (torch.cat([x, g], dim=1) - mean) / (std + eps)
            x_hat, g_hat = both[:, : x.shape[1]], both[:, x.shape[1] :]
            wanted = -self.lr * (x_hat * x_hat).sum(-1, keepdim=True) * g_hat
            shift = torch.linalg.solve(x.T @ x + torch.eye(x.shape[1], dtype=x.dtype), x.T @ wanted)
            weight = self.model.get_submodule(name).weight
            conv = type(self.model.get_submodule(name)).__name__ == "Conv1D"
            with torch.no_grad():
                weight += shift if conv else shift.T
            self.updates[name] = self.updates.get(name, 0) + shift.T


def total(result: EditResult) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for delta in result.model:
        assert not isinstance(delta, str)
        found[delta.module] = found.get(delta.module, 0) + delta.u @ delta.v.T
    return found


@pytest.mark.parametrize("warm_up", [0, 5])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_chain_is_the_plain_way_s(name: str, warm_up: int, tmp_path: Path) -> None:
    """Two requests together, then one on the edited model, with the moments that the first step left."""
    forward = make_forward(name, torch.float64)
    editor = make(forward, tmp_path, warm_up=warm_up)
    plain = Plain(forward.host, editor.weights(), 0.02, warm_up)
    result = EditResult()
    for step, requests in enumerate((REQUESTS[:2], REQUESTS[2:]), start=1):
        (result,) = editor.edit([EditJob("a", step, tuple(requests), result.model, result.state)])
        assert result.error is None
        plain.edit(requests)
        assert_close(total(result), plain.updates, 1e-7)
    assert max(float(update.norm()) for update in plain.updates.values()) > 1e-3


@pytest.mark.parametrize("name", FAMILIES)
def test_batched_equals_one_by_one(name: str, tmp_path: Path) -> None:
    forward = make_forward(name, torch.float64)
    editor = make(forward, tmp_path)
    before = {key: value.clone() for key, value in forward.host.model.state_dict().items()}
    jobs = [EditJob(str(i), 1, (request,)) for i, request in enumerate(REQUESTS)]
    jobs.append(EditJob("both", 1, tuple(REQUESTS[:2])))
    together = editor.edit(jobs)
    for job, result in zip(jobs, together, strict=True):
        assert_close(matrices(result), matrices(editor.edit([job])[0]), 1e-7)
    assert all(torch.equal(value, before[key]) for key, value in forward.host.model.state_dict().items())


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
    editor = make(make_forward("gpt2"), tmp_path)
    bad = replace(REQUESTS[0], prompt="The capital is")
    good, broken = editor.edit([EditJob("a", 1, (REQUESTS[0],)), EditJob("b", 2, (REQUESTS[1], bad))])
    assert good.error is None
    assert "edit 2: the rewrite prompt 'The capital is' has no {}" in str(broken.error)


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
    editor = make(make_forward("gpt2"), tmp_path)
    (first,) = editor.edit([EditJob("a", 1, (REQUESTS[0],))])
    spoilt = tuple(replace(delta, u=delta.u * float("inf")) for delta in first.model)
    good, bad = editor.edit([EditJob("a", 1, (REQUESTS[0],)), EditJob("b", 2, (REQUESTS[0],), spoilt, first.state)])
    assert_close(matrices(good), matrices(first), 1e-4)
    assert bad.error == "edit 2: inputs or gradients are not finite (NaN or infinity)"


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
