"""GRACE batched, one by one and the plain way: whole rows, a hook written from the rules, one case at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_editpitfalls.engine.draws import generator_of
from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.editors.grace.codebook import Codebook
from pytest_editpitfalls.engine.editors.grace.editor import Grace
from pytest_editpitfalls.engine.editors.grace.hyperparameters import GraceHyperparameters
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.moments import SecondMoments
from pytest_editpitfalls.engine.overlay import Overlay
from pytest_editpitfalls.engine.scoring import Question, Scorer
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.engine.stopping import Stopping
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.program import EditRequest
from tests.engine import naive
from tests.engine.conftest import make_forward, tolerance

FAMILIES = ["gpt2", "llama", "gpt_neox", "gemma2", "opt", "falcon", "granite", "bloom", "olmo2", "gemma3_images"]
REQUESTS = [
    EditRequest("The capital of {} is", "France", "Rome"),
    EditRequest("{} speaks", "Danielle Darrieux", "Russian and the French of a king"),
    EditRequest("The mother of {} is", "the king", "Japan"),
    EditRequest("The author of the book is a writer from {}, and", "England", "the capital of Spain"),
]
PROMPTS = ["The capital of France is", "The mother of the king is", "One, two, three, four", "Rome is in"]
TARGETS = ["Rome", "the queen of Spain"]


def make_grace(forward: Forward, **overrides: Any) -> Grace:
    values = {"layers": [1], "n_iter": 4, "edit_lr": 0.2, **overrides}
    hp = resolve_hyperparameters("grace", GraceHyperparameters, "tiny", forward.n_layers, values)
    moments = SecondMoments(forward, fingerprint="tiny", cache=Path("unused"), max_tokens=500)
    return Grace(hp, EditorResources(forward.host, forward, moments, EngineSettings("tiny"), 60))


def book_of(result: EditResult) -> Codebook:
    assert result.error is None, result.error
    (book,) = result.model
    assert book is result.state
    return book  # type: ignore[no-any-return]


@contextmanager
def replacing(module: Any, value: Tensor, columns: Sequence[int], seen: dict[str, Tensor]) -> Iterator[None]:
    """The module of a model that runs one row, its output replaced in ``columns``."""

    def hook(_module: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        seen["in"] = args[0].reshape(-1, args[0].shape[-1]).detach().clone()
        tokens = list(output.reshape(-1, output.shape[-1]))
        for column in columns:
            tokens[column] = value
        return torch.stack(tokens).reshape(output.shape)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def columns_of(count: int, replacement: str) -> list[int]:
    return [count - 1] if replacement == "replace_last" else list(range(count - 1))


def plain_value(grace: Grace, request: EditRequest, start: Tensor) -> tuple[Tensor, Tensor]:
    """(key, value) of one request, from ``start``, whole rows and nothing kept."""
    hp, host = grace._hp, grace._host
    prompt = naive.prompt_ids(host.tokenizer, request.question)
    wanted = naive.target_ids(host.tokenizer, request.question, request.target_new)
    ids = torch.tensor([prompt + wanted])
    value = start.clone().requires_grad_(True)
    adam = torch.optim.Adam([value], lr=hp.edit_lr)
    seen: dict[str, Tensor] = {}
    for _ in range(hp.n_iter):
        with replacing(host.module(grace._module), value, columns_of(len(prompt), hp.replacement), seen):
            log_p = host.model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
        loss = -sum(log_p[len(prompt) - 1 + i, token] for i, token in enumerate(wanted)) / len(wanted)
        if float(loss.detach()) < 0.01:
            break
        adam.zero_grad()
        loss.backward()
        adam.step()
    return seen["in"][len(prompt) - 1], value.detach()


def plain_score(grace: Grace, book: Codebook, prompt: str, target: str) -> float:
    """Mean log-probability of the target in one pass over the whole row, the rule applied by hand."""
    host = grace._host
    ids = naive.prompt_ids(host.tokenizer, prompt)
    seen: dict[str, Tensor] = {}
    with torch.no_grad(), replacing(host.module(grace._module), torch.zeros(0), [], seen):
        host.model(input_ids=torch.tensor([ids]), use_cache=False)
    distances = [float((seen["in"][-1] - key).norm()) for key in book.keys]
    best = distances.index(min(distances))
    columns: list[int] = []
    if distances[best] <= float(book.radii[best]):
        columns = columns_of(len(ids), "replace_last" if book.last_only else "replace_prompt")
    with replacing(host.module(grace._module), book.values[best], columns, seen):
        return naive.mean_log_prob(host.model, host.tokenizer, prompt, target)


def cold(grace: Grace, case: str, step: int, turn: int = 0) -> Tensor:
    """The start of a value; its width is d_o of the module, which random draws of any length begin with."""
    module = grace._host.module(grace._module)
    weight = module.weight
    width = weight.shape[1] if type(module).__name__ == "Conv1D" else weight.shape[0]
    return torch.rand(width, generator=generator_of(0, case, step, turn), dtype=torch.float64)


def checksum(forward: Forward) -> str:
    digest = hashlib.sha256()
    for name, tensor in forward.host.model.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("replacement", ["replace_last", "replace_prompt"])
@pytest.mark.parametrize("name", FAMILIES)
def test_batched_equals_one_by_one_equals_the_plain_way(name: str, replacement: str) -> None:
    forward = make_forward(name)
    grace = make_grace(forward, replacement=replacement)
    before = checksum(forward)
    jobs = [EditJob(str(i), 1, (request,)) for i, request in enumerate(REQUESTS)]
    bound = 1e-5 if tolerance(forward) < 1e-6 else 2e-2
    for job, result in zip(jobs, grace.edit(jobs), strict=True):
        together, alone = book_of(result), book_of(grace.edit([job])[0])
        key, value = plain_value(grace, job.requests[0], cold(grace, job.case_id, 1))
        for book in (together, alone):
            torch.testing.assert_close(book.keys[0], key, rtol=bound, atol=bound)
            assert float((book.values[0] - value).norm() / value.norm()) < bound
            assert book.radii.tolist() == [1.0]
        assert float((value - cold(grace, job.case_id, 1)).norm()) > 0.1
    assert checksum(forward) == before


@pytest.mark.parametrize("replacement", ["replace_last", "replace_prompt"])
@pytest.mark.parametrize("name", FAMILIES)
def test_scores_equal_whole_rows_with_the_rule_applied_by_hand(name: str, replacement: str) -> None:
    """Prompts of unequal length in one batch; targets of one and several tokens; one model per case and the base."""
    forward = make_forward(name)
    # The radius must let some prompts in and leave others out.
    grace = make_grace(forward, replacement=replacement, eps=1.0)
    books = [book_of(result) for result in grace.edit([EditJob(str(i), 1, (r,)) for i, r in enumerate(REQUESTS)])]
    near = [prompt for prompt in PROMPTS if prompt == REQUESTS[0].question]
    assert near
    models: list[Any] = [(), *((book,) for book in books)]
    encoder = forward.host.encoder
    asked = [(m, p, t) for m in range(len(models)) for p in PROMPTS for t in TARGETS]
    got = Scorer(forward, max_tokens=500).mean_log_probs(
        models, [Question(m, encoder.prompt(p), encoder.target(t)) for m, p, t in asked]
    )
    base = {(p, t): value for (m, p, t), value in zip(asked, got, strict=True) if m == 0}
    moved = 0
    for (m, prompt, target), value in zip(asked, got, strict=True):
        expected = (
            plain_score(grace, models[m][0], prompt, target)
            if m
            else naive.mean_log_prob(forward.host.model, forward.host.tokenizer, prompt, target)
        )
        assert abs(value - expected) < 20 * tolerance(forward), (m, prompt, target)
        moved += abs(value - base[prompt, target]) > 1e-3
    assert 0 < moved < len(asked) - len(base)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_the_edit_makes_the_target_likelier(name: str) -> None:
    forward = make_forward(name)
    grace = make_grace(forward, n_iter=60, edit_lr=0.5)
    encoder, request = forward.host.encoder, REQUESTS[0]
    book = book_of(grace.edit([EditJob("a", 1, (request,))])[0])
    question = (encoder.prompt(request.question), encoder.target(request.target_new))
    before, after = Scorer(forward, max_tokens=100).mean_log_probs(
        [(), (book,)], [Question(0, *question), Question(1, *question)]
    )
    assert after > before + 0.5


@pytest.mark.parametrize("late", [False, True])
def test_a_case_that_stops_early_leaves_the_others_alone(late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that the losses reach after different numbers of steps, one of them never; heard at once or late."""
    from pytest_editpitfalls.engine.editors.grace import editor as module

    monkeypatch.setattr(module, "Stopping", partial(Stopping, late=late))
    jobs = [EditJob(str(i), 1, (request,)) for i, request in enumerate(REQUESTS)]
    grace = make_grace(make_forward("llama"), n_iter=30)
    never = [book_of(result).values for result in grace.edit(jobs)]
    monkeypatch.setattr(module, "STOP_LOSS", 5.0)
    together = [book_of(result).values for result in grace.edit(jobs)]
    for job, values in zip(jobs, together, strict=True):
        torch.testing.assert_close(values, book_of(grace.edit([job])[0]).values, rtol=1e-5, atol=1e-5)
    stopped = [not torch.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in zip(never, together, strict=True)]
    assert 0 < sum(stopped) < len(stopped)


def test_edit_two_goes_behind_edit_one_in_one_codebook() -> None:
    forward = make_forward("llama")
    grace = make_grace(forward)
    first = grace.edit([EditJob("a", 1, (REQUESTS[0],))])[0]
    second = grace.edit([EditJob("a", 2, (REQUESTS[2],), first.model, first.state)])[0]
    alone = grace.edit([EditJob("a", 2, (REQUESTS[2],))])[0]
    both = book_of(second)
    assert len(both.labels) == 2
    assert torch.equal(both.values[0], book_of(first).values[0])
    torch.testing.assert_close(both.values[1], book_of(alone).values[0], rtol=1e-6, atol=1e-6)
    both_at_once = book_of(grace.edit([EditJob("a", 1, (REQUESTS[0], REQUESTS[2]))])[0])
    assert len(both_at_once.labels) == 2
    torch.testing.assert_close(both_at_once.keys, both.keys)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_the_same_prompt_with_another_target_overwrites(name: str) -> None:
    forward = make_forward(name)
    grace = make_grace(forward, n_iter=40, edit_lr=0.5)
    other = EditRequest("The capital of {} is", "France", "Tokyo")
    first = grace.edit([EditJob("a", 1, (REQUESTS[0],))])[0]
    # Next to a longer row, so that the key is computed in another batch shape than before.
    second = grace.edit([EditJob("a", 2, (other,), first.model, first.state), EditJob("b", 2, (REQUESTS[3],))])[0]
    book = book_of(second)
    assert len(book.labels) == 1
    assert "overwritten" in second.notes[0]
    encoder = forward.host.encoder
    ask = [Question(m, encoder.prompt(other.question), encoder.target("Tokyo")) for m in range(3)]
    base, one, two = Scorer(forward, max_tokens=60).mean_log_probs([(), first.model, second.model], ask)
    assert two > max(base, one) + 0.5


def _book(*keys: Sequence[float], radii: Sequence[float], labels: Sequence[tuple[int, ...]]) -> Codebook:
    matrix = torch.tensor(keys, dtype=torch.float64)
    return Codebook("m", matrix, torch.zeros(len(keys), 2).double(), torch.tensor(radii).double(), tuple(labels), True)


def test_the_rules_of_the_codebook() -> None:
    key, value = torch.tensor([3.0, 4.0], dtype=torch.float64), torch.ones(2).double()
    start = _book([0.0, 0.0], radii=[1.0], labels=[(7,)])
    # 5 away, farther than 1 + 1: a new key, and the old radius stays.
    far, index, _ = start.with_entry(key, (8,), 1.0, value)
    assert index == 1
    assert far.radii.tolist() == [1.0, 1.0]
    # Near, same label: the radius grows just far enough, and the old value goes on.
    grown, index, _ = start.with_entry(key, (7,), 4.5, value)
    assert index == 0
    assert len(grown.labels) == 1
    assert 5.0 < float(grown.radii[0]) < 5.01
    # Near, another label: both get half the distance.
    split, index, _ = start.with_entry(key, (8,), 4.5, value)
    assert index == 1
    assert split.radii.tolist() == [2.5 - 1e-5, 2.5]
    assert split.labels == ((7,), (8,))
    # Labels with the same mean of ids are different labels.
    mean, index, _ = _book([0.0, 0.0], radii=[1.0], labels=[(1, 3)]).with_entry(key, (2, 2), 4.5, value)
    assert index == 1
    assert len(mean.labels) == 2


def test_a_chosen_module_is_the_one_that_is_wrapped() -> None:
    forward = make_forward("gpt2")
    grace = make_grace(forward, module="mlp.c_fc")
    book = book_of(grace.edit([EditJob("0", 1, (REQUESTS[0],))])[0])
    _, value = plain_value(grace, REQUESTS[0], cold(grace, "0", 1))
    torch.testing.assert_close(book.values[0], value, rtol=1e-5, atol=1e-5)
    assert book.values.shape[1] == 4 * book.keys.shape[1]
    with pytest.raises(UsageError, match="no module"):
        make_grace(forward, module="mlp.nothing")


def test_one_bad_request_is_an_error_of_its_own() -> None:
    grace = make_grace(make_forward("gpt2"), replacement="replace_prompt")
    bad = EditRequest("{}", "a", "Rome")
    good, broken = grace.edit([EditJob("a", 1, (REQUESTS[0],)), EditJob("b", 2, (bad,))])
    assert good.error is None
    assert "edit 2" in (broken.error or "")
    assert "one token" in (broken.error or "")


@torch.no_grad()
@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_generate_answers_as_the_edited_model(name: str) -> None:
    forward = make_forward(name)
    grace = make_grace(forward, n_iter=30, edit_lr=0.5)
    host = forward.host
    book = book_of(grace.edit([EditJob("a", 1, (REQUESTS[0],))])[0])
    ids = torch.tensor([host.encoder.prompt(REQUESTS[0].question)])
    seen: dict[str, Tensor] = {}
    with replacing(host.module(grace._module), book.values[0], [ids.shape[1] - 1], seen):
        expected = host.model(input_ids=ids, use_cache=False).logits[0, -1]
    with Overlay(host, [(book,)]).serving(0):
        logits = host.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1]
        longer = host.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, do_sample=False, pad_token_id=0
        )
    torch.testing.assert_close(logits, expected)
    row = longer[0].tolist()
    for end in range(ids.shape[1], len(row)):
        with replacing(host.module(grace._module), book.values[0], [ids.shape[1] - 1], seen):
            best = host.model(input_ids=torch.tensor([row[:end]]), use_cache=False).logits[0, -1].argmax()
        assert int(best) == row[end]
