"""WISE batched, one by one and the plain way: whole rows, the weight itself trained, one case at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.activations import ACT2FN

from pytest_editpitfalls.engine.draws import generator_of
from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.editors.wise import editor as wise_module
from pytest_editpitfalls.engine.editors.wise.editor import Wise, irrelevant_prompt, irrelevant_prompts
from pytest_editpitfalls.engine.editors.wise.hyperparameters import WiseHyperparameters
from pytest_editpitfalls.engine.editors.wise.side_memory import SideMemory
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.moments import SecondMoments
from pytest_editpitfalls.engine.overlay import Overlay
from pytest_editpitfalls.engine.scoring import Question, Scorer
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.program import EditRequest
from tests.engine import naive
from tests.engine.conftest import make_forward, tolerance

FAMILIES = ["gpt2", "llama", "gpt_neox", "gemma2", "opt", "falcon", "granite", "bloom", "glm4", "qwen2_5_vl"]
REQUESTS = [
    EditRequest("The capital of {} is", "France", "Rome"),
    EditRequest("{} speaks", "Danielle Darrieux", "Russian and the French of a king"),
    EditRequest("The mother of {} is", "the king", "Japan"),
]
PROMPTS = ["The capital of France is", "The mother of the king is", "One, two, three, four", "Rome is in"]
TARGETS = ["Rome", "the queen of Spain"]
TEMPLATES = ["{}", "The truth is. {}"]
STEPS = {"n_iter": 5, "edit_lr": 0.1, "act_margin": [0.1, 1.5, 0.5], "norm_constraint": 0.15}


def make_wise(forward: Forward, **overrides: Any) -> Wise:
    values = {"layers": [1], "context_template_length_params": [], **STEPS, **overrides}
    hp = resolve_hyperparameters("wise", WiseHyperparameters, "tiny", forward.n_layers, values)
    moments = SecondMoments(forward, fingerprint="tiny", cache=Path("unused"), max_tokens=500)
    wise = Wise(hp, EditorResources(forward.host, forward, moments, EngineSettings("tiny"), 60))
    wise._templates = TEMPLATES
    return wise


def memory_of(result: EditResult) -> SideMemory:
    assert result.error is None, result.error
    (memory,) = result.model
    return memory  # type: ignore[no-any-return]


def checksum(forward: Forward) -> str:
    digest = hashlib.sha256()
    for name, tensor in forward.host.model.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def activation_of(host: Any) -> Any:
    names = {"gpt2": "activation_function", "opt": "activation_function", "gemma2": "hidden_activation"}
    names["falcon"] = "activation"
    if host.family.name == "bloom":
        return host.blocks[0].mlp.gelu_impl  # the model's own
    return ACT2FN[getattr(host.config, names.get(host.family.name, "hidden_act"))]


def outputs(host: Any, path: str, ids: list[int], delta: Tensor, n_prompt: int) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities with the module's weight changed, and the module's outputs on the prompt without and with."""
    module = host.module(path)
    transposed = type(module).__name__ == "Conv1D"
    seen: dict[str, Tensor] = {}

    def hook(_module: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = args[0]
        weight = module.weight.T if transposed else module.weight
        # Copies: Falcon adds to this tensor in place.
        seen["own"] = torch.nn.functional.linear(x, weight, module.bias).reshape(-1, output.shape[-1])[:n_prompt]
        changed = torch.nn.functional.linear(x, weight + delta, module.bias)
        seen["new"] = changed.reshape(-1, output.shape[-1])[:n_prompt].clone()
        return changed

    handle = module.register_forward_hook(hook)
    try:
        log_p = host.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
    finally:
        handle.remove()
    return log_p, seen["own"], seen["new"]


def difference(host: Any, path: str, text: str, delta: Tensor) -> Tensor:
    ids = naive.prompt_ids(host.tokenizer, text)
    _, own, new = outputs(host, path, ids, delta, len(ids))
    act = activation_of(host)
    return (act(new) - act(own)).norm(dim=-1).mean()


def plain(
    wise: Wise, case: str, requests: list[EditRequest], start: Tensor | None = None, step: int = 1
) -> tuple[Tensor, float]:
    """(W' - W, least activation difference) of the requests of one step, row by row."""
    hp, host, path = wise._hp, wise._host, wise._module
    module = host.module(path)
    base = module.weight.T if type(module).__name__ == "Conv1D" else module.weight
    a, b, g = hp.act_margin
    mask = torch.rand(base.shape, generator=generator_of(0, case, "mask")) < hp.mask_ratio
    delta = torch.zeros_like(base) if start is None else start.clone()
    irrelevant = [
        irrelevant_prompt(request, generator_of(0, case, step, turn, "irrelevant"))
        for turn, request in enumerate(requests)
    ]
    losses = [1e9, 0.0]
    for _ in range(hp.n_iter):
        if abs(losses[-1] - losses[-2]) <= 1e-4 and losses[-1] <= 0.02:
            break
        delta = delta.detach().requires_grad_(True)
        total = torch.zeros((), dtype=torch.float64)
        for request, other in zip(requests, irrelevant, strict=True):
            nlls, inside = [], []
            for template in TEMPLATES:
                text = template.replace("{}", request.question)
                prompt, wanted = (
                    naive.prompt_ids(host.tokenizer, text),
                    naive.target_ids(host.tokenizer, text, request.target_new),
                )
                log_p, own, new = outputs(host, path, prompt + wanted, delta, len(prompt))
                nlls.append(-sum(log_p[len(prompt) - 1 + i, t] for i, t in enumerate(wanted)) / len(wanted))
                act = activation_of(host)
                inside.append(torch.linalg.vector_norm(act(new) - act(own), dim=-1).mean())
            ids = naive.prompt_ids(host.tokenizer, other)
            _, own, new = outputs(host, path, ids, delta, len(ids))
            apart = torch.linalg.vector_norm(activation_of(host)(new) - activation_of(host)(own), dim=-1).mean()
            low = [b - each for each in inside if b - each > 0]
            near = [apart - each + g for each in inside if apart - each + g > 0]
            request_loss = sum(nlls) / len(nlls) + (apart - a).clamp(min=0)
            request_loss = request_loss + (sum(low) / len(low) if low else 0) + (sum(near) / len(near) if near else 0)
            total = total + request_loss / len(requests)
        total.backward()
        with torch.no_grad():
            gradient = delta.grad * mask + 1e-5 * (base + delta)
            delta = (delta - hp.edit_lr * gradient).clamp(-hp.norm_constraint, hp.norm_constraint)
        losses.append(float(total.detach()))
    with torch.no_grad():
        least = min(
            sum(float(difference(host, path, t.replace("{}", r.question), delta)) for t in TEMPLATES) / len(TEMPLATES)
            for r in requests
        )
    return delta.detach(), least


@pytest.mark.parametrize("name", FAMILIES)
def test_batched_equals_one_by_one_equals_the_plain_way(name: str) -> None:
    forward = make_forward(name)
    wise = make_wise(forward)
    before = checksum(forward)
    jobs = [EditJob(str(i), 1, (request,)) for i, request in enumerate(REQUESTS)]
    jobs.append(EditJob("mle", 1, (REQUESTS[0], EditRequest("The capital of {} is", "France", "Tokyo"))))
    bound = 1e-7 if tolerance(forward) < 1e-6 else 1e-3
    for job, result in zip(jobs, wise.edit(jobs), strict=True):
        delta, least = plain(wise, job.case_id, list(job.requests))
        for memory in (memory_of(result), memory_of(wise.edit([job])[0])):
            assert float((memory.weight - delta).norm() / delta.norm()) < bound, job.case_id
            assert memory.threshold == pytest.approx(wise._hp.act_ratio * least, rel=bound)
        assert float(delta.abs().max()) <= 0.15
        assert least > 1e-3
    assert checksum(forward) == before


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_chunks_of_one_copy_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = make_forward(name)
    jobs = [EditJob(str(i), 1, (request,)) for i, request in enumerate(REQUESTS)]
    together = [memory_of(result) for result in make_wise(forward).edit(jobs)]
    monkeypatch.setattr(wise_module, "TRAINING_BYTES", 1)
    for one, other in zip(together, make_wise(forward).edit(jobs), strict=True):
        torch.testing.assert_close(one.weight, memory_of(other).weight, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_edit_two_trains_edit_ones_side_copy_further(name: str) -> None:
    forward = make_forward(name)
    wise = make_wise(forward)
    first = wise.edit([EditJob("a", 1, (REQUESTS[0],))])[0]
    results = wise.edit([EditJob("a", 2, (REQUESTS[2],), first.model, first.state), EditJob("b", 2, (REQUESTS[2],))])
    delta, least = plain(wise, "a", [REQUESTS[2]], memory_of(first).weight, 2)
    bound = 1e-7 if tolerance(forward) < 1e-6 else 1e-3
    memory = memory_of(results[0])
    assert float((memory.weight - delta).norm() / delta.norm()) < bound
    assert results[0].state.least == pytest.approx(min(least, first.state.least), rel=bound)
    assert results[0].state.edits == 2
    assert results[1].state.edits == 1


def test_a_case_that_stops_early_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that the three losses reach after different numbers of steps, one of them never."""
    from pytest_editpitfalls.engine.editors.wise import side_copies

    monkeypatch.setattr(side_copies, "STOP_LOSS", 6.8)
    monkeypatch.setattr(side_copies, "STOP_CHANGE", 0.5)
    forward = make_forward("llama")
    wise = make_wise(forward, act_margin=[0, 0, 0], n_iter=12)
    jobs = [EditJob(str(i), 1, (request,)) for i, request in enumerate(REQUESTS)]
    together = wise.edit(jobs)
    full = make_wise(forward, act_margin=[0, 0, 0], n_iter=12)
    alone = [full.edit([job])[0] for job in jobs]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(memory_of(one).weight, memory_of(other).weight, rtol=1e-7, atol=1e-9)
        assert one.state.least == pytest.approx(other.state.least, rel=1e-7)
    monkeypatch.undo()
    never = wise.edit(jobs)
    stopped = [not torch.equal(memory_of(a).weight, memory_of(b).weight) for a, b in zip(together, never, strict=True)]
    assert 0 < sum(stopped) < len(stopped)


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_equal_whole_rows_with_the_rule_applied_by_hand(name: str) -> None:
    """Each row decides on its prompt alone, and its target tokens follow that decision."""
    forward = make_forward(name)
    host, wise = forward.host, make_wise(forward)
    memories = [memory_of(result) for result in wise.edit([EditJob(str(i), 1, (r,)) for i, r in enumerate(REQUESTS)])]
    # Thresholds in the middle of the prompts' differences: some rows take the side copy, some do not.
    models: list[Any] = [()]
    for memory in memories:
        with torch.no_grad():
            found = sorted(float(difference(host, memory.module, p, memory.weight)) for p in PROMPTS)
        models.append((SideMemory(memory.module, memory.weight, (found[1] + found[2]) / 2, memory.activation),))
    asked = [(m, p, t) for m in range(len(models)) for p in PROMPTS for t in TARGETS]
    got = Scorer(forward, max_tokens=500).mean_log_probs(
        models, [Question(m, host.encoder.prompt(p), host.encoder.target(t)) for m, p, t in asked]
    )
    base = {(p, t): value for (m, p, t), value in zip(asked, got, strict=True) if m == 0}
    transposed = type(host.module(wise._module)).__name__ == "Conv1D"
    moved = 0
    for (m, prompt, target), value in zip(asked, got, strict=True):
        updates = []
        if m:
            memory = models[m][0]
            with torch.no_grad():
                if float(difference(host, memory.module, prompt, memory.weight)) > memory.threshold:
                    updates = [(memory.module, memory.weight)]
        with naive.in_place(host.model, updates, transposed):
            expected = naive.mean_log_prob(host.model, host.tokenizer, prompt, target)
        assert abs(value - expected) < 20 * tolerance(forward), (m, prompt, target)
        moved += abs(value - base[prompt, target]) > 1e-4
    assert moved == len(TARGETS) * 2 * len(memories)


@torch.no_grad()
@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_generate_keeps_the_decision_of_the_prompt(name: str) -> None:
    forward = make_forward(name)
    host = forward.host
    with torch.enable_grad():
        memory = memory_of(make_wise(forward).edit([EditJob("a", 1, (REQUESTS[0],))])[0])
    ids = torch.tensor([host.encoder.prompt(PROMPTS[0])])
    reach = float(difference(host, memory.module, PROMPTS[0], memory.weight))
    transposed = type(host.module(memory.module)).__name__ == "Conv1D"
    options = {
        "max_new_tokens": 5,
        "do_sample": False,
        "attention_mask": torch.ones_like(ids),
        "pad_token_id": 0,
    }
    for threshold, updates in ((reach * 0.999, [(memory.module, memory.weight)]), (reach * 1.001, [])):
        model = (SideMemory(memory.module, memory.weight, threshold, memory.activation),)
        with Overlay(host, [model]).serving(0):
            got = host.model.generate(ids, **options)
        with naive.in_place(host.model, updates, transposed):
            assert got.tolist() == host.model.generate(ids, **options).tolist()


def test_a_save_freq_that_a_case_reaches_is_refused() -> None:
    wise = make_wise(make_forward("gpt2"), save_freq=2, merge_freq=2)
    first = wise.edit([EditJob("a", 1, (REQUESTS[0],))])[0]
    assert first.error is None
    with pytest.raises(UsageError, match="save_freq is 2, and case a has 2"):
        wise.edit([EditJob("a", 2, (REQUESTS[1],), first.model, first.state)])


def test_a_module_without_a_matrix_is_refused() -> None:
    with pytest.raises(UsageError, match="no linear layer"):
        make_wise(make_forward("gpt2"), module="ln_1")


def test_one_bad_request_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    wise = make_wise(make_forward("llama"))
    bad = EditRequest("The capital of {} is", "France", " ")
    good, broken, last = wise.edit(
        [EditJob("a", 1, (REQUESTS[0],)), EditJob("b", 2, (bad,)), EditJob("c", 1, (REQUESTS[2],))]
    )
    assert good.error is None
    assert "edit 2" in (broken.error or "")
    torch.testing.assert_close(
        memory_of(last).weight, memory_of(wise.edit([EditJob("c", 1, (REQUESTS[2],))])[0]).weight
    )


def test_irrelevant_prompts_ship_and_avoid_the_subject() -> None:
    known = irrelevant_prompts()
    assert len(set(known)) == len(known) >= 100
    subject = EditRequest("{} is", "my neighbour", "Rome")
    drawn = {irrelevant_prompt(subject, torch.Generator().manual_seed(i)) for i in range(400)}
    assert len(drawn) > 50
    assert not any("my neighbour" in text.casefold() for text in drawn)
    assert any("my neighbour" in text.casefold() for text in known)


def test_templates_are_sampled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wise = make_wise(make_forward("gpt2"), context_template_length_params=[[4, 2]])
    wise._templates = None
    wise.prepare()
    templates = wise.describe()["context_templates"]
    assert templates[0] == "{}"
    assert len(templates) == 3
