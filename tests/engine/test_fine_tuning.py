"""FT, FT-L, FT-M batched, one by one, and as a copy of the model trained in place: the same."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.fine_tuning import whole_matrices as ft
from pytest_editpitfalls.engine.fine_tuning.whole_matrices import FineTuning
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.matrices import is_transposed
from pytest_editpitfalls.engine.overlay import DenseDelta
from pytest_editpitfalls.engine.settings import EngineSettings, Progress
from pytest_editpitfalls.program import EditRequest
from tests.engine import naive
from tests.engine.conftest import make_forward

REQUESTS = [
    EditRequest("The capital of {} is", "France", "Rome"),
    EditRequest("{} speaks", "Danielle Darrieux", "Russian and the French of a king"),
    EditRequest("The mother of {} is", "the king", "Japan"),
    EditRequest("{}", "Rome", "the capital of Spain"),
]
FAMILIES = ["gpt2", "llama", "gpt_neox", "opt", "opt_post_norm", "gemma3", "granite", "bloom", "olmo2"]
EDITS: dict[str, dict[str, Any]] = {"ft": {}, "ft-l": {"norm_constraint": 0.012}, "ft-m": {}}


def make(forward: Forward, name: str, **values: Any) -> FineTuning:
    declaration = EDITORS.get(name)
    kind: Any = declaration.hyperparameter_class()
    hp = kind(**{"layers": (1,), "num_steps": 5, "lr": 5e-3, **EDITS[name], **values})
    # Nothing is ever asked of the second moments. 40 tokens: these rows need several passes.
    moments: Any = None
    resources = EditorResources(forward.host, forward, moments, EngineSettings("tiny"), 40)
    return declaration.make(hp, resources)  # type: ignore[return-value]


def loss_of(model: Any, tokenizer: Any, request: EditRequest, name: str) -> Tensor:
    """The released formula on whole rows."""
    prompt = naive.prompt_ids(tokenizer, request.question)
    wanted = naive.target_ids(tokenizer, request.question, request.target_new)
    if name == "ft-m":
        log_p = model(input_ids=torch.tensor([prompt + wanted]), use_cache=False).logits[0].log_softmax(-1)
        places = [len(prompt) - 1 + i for i in range(len(wanted))]
    else:
        log_p = model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0].log_softmax(-1)
        places = [len(prompt) - 1] * len(wanted)
    return -sum(log_p[place, token] for place, token in zip(places, wanted, strict=True)) / len(wanted)


def plain(
    editor: FineTuning, model: Any, requests: Sequence[EditRequest], stop: float = 0.01
) -> tuple[list[Tensor], int]:
    """Train ``model`` itself; what was added to each weight and bias, and how many steps were taken."""
    hp, host = editor._hp, editor._resources.host
    modules = [model.get_submodule(host.down_projection_path(layer)) for layer in hp.layers]
    trained = [p for module in modules for p in (module.weight, module.bias) if p is not None]
    for parameter in trained:
        parameter.requires_grad_()
    start = [parameter.detach().clone() for parameter in trained]
    adam = torch.optim.Adam(trained, lr=hp.lr, weight_decay=hp.weight_decay)
    for step in range(hp.num_steps):
        losses = [loss_of(model, host.tokenizer, request, editor.name) for request in requests]
        loss = torch.stack(losses).mean()
        if float(loss.detach()) < stop:
            return _difference(modules, start), step
        adam.zero_grad()
        loss.backward()
        adam.step()
        if hp.norm_constraint is not None:
            with torch.no_grad():
                for parameter, first in zip(trained, start, strict=True):
                    torch.clamp(parameter, first - hp.norm_constraint, first + hp.norm_constraint, out=parameter)
    return _difference(modules, start), hp.num_steps


def _difference(modules: Sequence[Any], start: Sequence[Tensor]) -> list[Tensor]:
    found, old = [], iter(start)
    for module in modules:
        for parameter in (module.weight, module.bias):
            if parameter is not None:
                change = parameter.detach() - next(old)
                found.append(change.T if is_transposed(module) and change.ndim == 2 else change)
    return found


def tensors(changes: Sequence[Any]) -> list[Tensor]:
    assert all(isinstance(change, DenseDelta) for change in changes)
    return [t for change in changes for t in (change.weight, change.bias) if t is not None]


def added(result: EditResult, layers: int = 1) -> list[Tensor]:
    """Weights and biases of the last edit."""
    assert result.error is None, result.error
    return tensors(result.model[-layers:])


def same(got: Sequence[Tensor], expected: Sequence[Tensor], bound: float = 1e-6) -> bool:
    assert [t.shape for t in got] == [t.shape for t in expected]
    # Of greatest entry: all entries move by about the learning rate, whatever their gradient.
    return all(float((a - b).abs().max()) <= bound * float(b.abs().max()) for a, b in zip(got, expected, strict=True))


def checksum(forward: Forward) -> str:
    digest = hashlib.sha256()
    for name, tensor in forward.host.model.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", sorted(EDITS))
def test_batched_equals_one_by_one_equals_a_model_trained_in_place(family: str, name: str) -> None:
    forward = make_forward(family)
    before = checksum(forward)
    editor = make(forward, name)
    assert editor.name == name
    jobs = [EditJob(str(i), 1, (request,)) for i, request in enumerate(REQUESTS)]
    batched = editor.edit(jobs)
    for job, together, request in zip(jobs, batched, REQUESTS, strict=True):
        expected, _ = plain(editor, copy.deepcopy(forward.host.model), [request])
        assert same(added(together), expected), request
        assert same(added(editor.edit([job])[0]), expected), request
        if name == "ft-l":
            assert max(float(t.abs().max()) for t in expected) == pytest.approx(0.012)
        assert not any(t.requires_grad for t in added(together))
    assert checksum(forward) == before
    assert not any(p.requires_grad or p.grad is not None for p in forward.host.model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", sorted(EDITS))
def test_edit_two_is_trained_under_edit_one(family: str, name: str) -> None:
    """With weight decay, which pulls at the whole matrix as edit 1 left it, and FT-L's clamp starting anew."""
    forward = make_forward(family)
    editor = make(forward, name, weight_decay=0.05, num_steps=4)
    first = editor.edit([EditJob("a", 1, (REQUESTS[0],))])[0]
    second = EditRequest("The capital of {} is", "France", "Japan")
    chained, fresh = editor.edit([EditJob("a", 2, (second,), first.model), EditJob("b", 1, (second,))])
    assert chained.model[:1] == first.model
    copied = copy.deepcopy(forward.host.model)
    assert same(added(first), plain(editor, copied, [REQUESTS[0]])[0])
    assert same(added(chained), plain(editor, copied, [second])[0])
    assert same(added(fresh), plain(editor, copy.deepcopy(forward.host.model), [second])[0])
    assert not same(added(chained), added(fresh), 1e-2)
    undecayed = make(forward, name, num_steps=4).edit([EditJob("a", 1, (REQUESTS[0],))])[0]
    assert not same(added(undecayed), added(first), 1e-3)


@pytest.mark.parametrize("name", ["ft", "ft-m"])
def test_several_targets_are_trained_together_and_several_layers(name: str) -> None:
    forward = make_forward("gpt2")
    editor = make(forward, name, layers=(0, 2))
    both = (REQUESTS[0], EditRequest("The capital of {} is", "France", "the queen of Spain"), REQUESTS[2])
    results = editor.edit([EditJob("a", 1, both), EditJob("b", 1, (REQUESTS[1],))])
    for result, requests in zip(results, (both, (REQUESTS[1],)), strict=True):
        assert same(added(result, 2), plain(editor, copy.deepcopy(forward.host.model), requests)[0])


@pytest.mark.parametrize(("family", "stop"), [("gpt2", 0.01), ("gpt2", 2.0), ("llama", 2.0)])
def test_a_case_stops_alone(family: str, stop: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the bound nothing steps any more, momentum included, whatever the neighbours do."""
    if stop != ft.STOP_BELOW:  # tiny random models hardly get under 0.01
        monkeypatch.setattr(ft, "STOP_BELOW", stop)
    forward = make_forward(family)
    editor = make(forward, "ft-m", num_steps=45, lr=0.1)
    seen: list[Progress] = []
    jobs = [EditJob(str(i), 1, (request,)) for i, request in enumerate(REQUESTS)]
    results = editor.edit(jobs, seen.append)
    steps = []
    for result, request in zip(results, REQUESTS, strict=True):
        expected, taken = plain(editor, copy.deepcopy(forward.host.model), [request], stop)
        assert same(added(result), expected, 1e-4), request
        steps.append(taken)
    assert min(steps) < max(steps)
    assert [progress.done for progress in seen] == list(range(1, max(steps) + 1))


def test_what_is_written_already_is_left_alone() -> None:
    forward = make_forward("gpt2")
    editor = make(forward, "ft-m", num_steps=60, lr=0.1)
    first = editor.edit([EditJob("a", 1, (REQUESTS[0],))])[0]
    again = editor.edit([EditJob("a", 2, (REQUESTS[0],), first.model)])[0]
    assert all(bool((t == 0).all()) for t in added(again))


def test_the_edit_makes_the_target_likelier() -> None:
    forward = make_forward("gpt_neox")
    host, request = forward.host, REQUESTS[0]
    before = naive.mean_log_prob(host.model, host.tokenizer, request.question, request.target_new)
    delta = make(forward, "ft-m", num_steps=20).edit([EditJob("a", 1, (request,))])[0].model[0]
    with naive.in_place(host.model, [(delta.module, delta.weight)], transposed=False):
        after = naive.mean_log_prob(host.model, host.tokenizer, request.question, request.target_new)
    assert after > before + 1


def test_a_broken_job_is_an_error_of_its_own() -> None:
    forward = make_forward("gpt2")
    editor = make(forward, "ft")
    d_o, d_k = forward.host.matrix_shape(1)
    broken = DenseDelta(forward.host.down_projection_path(1), torch.full((d_o, d_k), float("nan"), dtype=torch.float64))
    jobs = [
        EditJob("a", 1, (REQUESTS[0],)),
        EditJob("b", 1, (EditRequest("The capital of {} is", "France", " "),)),
        EditJob("c", 2, (REQUESTS[0],), (broken,)),
        EditJob("d", 1, ()),
    ]
    good, empty, not_finite, nothing = editor.edit(jobs)
    assert same(added(good), added(editor.edit(jobs[:1])[0]))
    assert "edit 1: the target ' ' has no tokens" in (empty.error or "")
    assert "edit 2: the loss is nan before the first step" in (not_finite.error or "")
    assert "nothing to write" in (nothing.error or "")


def test_a_diverging_edit_says_what_to_do() -> None:
    result = make(make_forward("gpt2"), "ft", lr=1e300).edit([EditJob("a", 1, (REQUESTS[0],))])[0]
    assert result.error is not None
    assert "after 1 step(s): the edit diverges; lower lr (1e+300)" in result.error


def test_half_precision_models_are_trained_in_float32() -> None:
    forward = make_forward("llama", torch.bfloat16)
    weight, bias = added(make(forward, "ft").edit([EditJob("a", 1, (REQUESTS[0],))])[0])
    assert weight.dtype == bias.dtype == torch.float32
    assert bool(weight.isfinite().all())


def test_the_description_is_plain() -> None:
    record = make(make_forward("gpt2"), "ft-l").describe()
    assert record["editor"] == "ft-l"
    assert record["modules"] == ["transformer.h.1.mlp.c_proj"]
    assert record["hyperparameters"]["norm_constraint"] == 0.012
