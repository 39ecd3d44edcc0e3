"""LoRA batched, one by one, and as adapters trained on a copy of the model: the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.editors.lora import editor as lora
from pytest_editpitfalls.engine.editors.lora.editor import Adapter, Lora, _StackedAdapters
from pytest_editpitfalls.engine.editors.lora.hyperparameters import LoraHyperparameters
from pytest_editpitfalls.engine.fine_tuning.training_loop import Batch
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.overlay import EditedModel, FoldedDelta, LowRankDelta, folded
from pytest_editpitfalls.engine.scoring import Question, Scorer
from pytest_editpitfalls.engine.settings import EngineSettings, Progress
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.program import EditRequest
from tests.engine import naive
from tests.engine.conftest import make_forward
from tests.engine.test_fine_tuning import REQUESTS, checksum, loss_of

FAMILIES = ["gpt2", "llama", "gpt_neox", "opt", "opt_post_norm", "gemma3", "granite", "bloom", "smollm3"]


def make(forward: Forward, *, seed: int = 0, **values: Any) -> Lora:
    hp = LoraHyperparameters(**{"num_steps": 4, "rank": 3, "lora_dropout": 0.0, "lr": 1e-2, **values})
    # Nothing is ever asked of the second moments. 40 tokens: these rows need several passes.
    moments: Any = None
    return Lora(hp, EditorResources(forward.host, forward, moments, EngineSettings("tiny", seed=seed), 40))


class _Adapted(nn.Module):
    """A linear module with an adapter, written from the paper's formula."""

    def __init__(self, inner: nn.Module, a: Tensor, b: Tensor, scale: float) -> None:
        super().__init__()
        self.inner, self.scale = inner, scale
        self.a, self.b = nn.Parameter(a.clone()), nn.Parameter(b.clone())
        self.masks: Iterator[Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.masks is None else x * next(self.masks).reshape(x.shape)
        return self.inner(x) + self.scale * kept @ self.a.T @ self.b.T  # type: ignore[no-any-return]


def adapted(forward: Forward, editor: Lora, start: Adapter) -> tuple[Any, list[_Adapted]]:
    """A copy of the model with ``start``'s adapters in place of the target modules."""
    model: Any = copy.deepcopy(forward.host.model)
    wrapped = []
    for name, a, b in zip(editor._modules, start.a, start.b, strict=True):
        parent, _, last = name.rpartition(".")
        module = _Adapted(model.get_submodule(name), a, b, editor._hp.lora_alpha / editor._hp.rank)
        setattr(model.get_submodule(parent), last, module)
        wrapped.append(module)
    return model, wrapped


def train_plainly(
    forward: Forward, editor: Lora, model: Any, wrapped: list[_Adapted], requests: Sequence[EditRequest]
) -> None:
    parameters = [p for module in wrapped for p in (module.a, module.b)]
    adam = torch.optim.Adam(parameters, lr=editor._hp.lr, weight_decay=editor._hp.weight_decay)
    for _ in range(editor._hp.num_steps):
        losses = [loss_of(model, forward.host.tokenizer, request, "ft-m") for request in requests]
        adam.zero_grad()
        torch.stack(losses).mean().backward()
        adam.step()


def start_of(forward: Forward, case: str = "a", **values: Any) -> Adapter:
    """The adapter before training: after one step of no length."""
    still = make(forward, **{**values, "num_steps": 1, "lr": 1e-30})
    state = still.edit([EditJob(case, 1, (REQUESTS[0],))])[0].state
    assert isinstance(state, Adapter)
    return state


def updates(changes: EditedModel) -> list[Tensor]:
    assert all(isinstance(change, LowRankDelta) for change in changes)
    return [change.u @ change.v.T for change in changes]


def expected_updates(wrapped: Sequence[_Adapted]) -> list[Tensor]:
    return [module.scale * (module.b @ module.a).detach() for module in wrapped]


def assert_same(result: EditResult, expected: Sequence[Tensor], bound: float = 1e-6) -> None:
    assert result.error is None, result.error
    got = updates(result.model)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert float((a - b).norm()) <= bound * float(b.norm())
        assert float(b.norm()) > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_batched_equals_one_by_one_equals_adapters_on_a_copy(family: str) -> None:
    forward = make_forward(family)
    before = checksum(forward)
    editor = make(forward)
    jobs = [EditJob(f"case {i}", 1, (request,)) for i, request in enumerate(REQUESTS)]
    for job, together in zip(jobs, editor.edit(jobs), strict=True):
        assert_same(editor.edit([job])[0], updates(together.model))
        model, wrapped = adapted(forward, editor, start_of(forward, job.case_id))
        train_plainly(forward, editor, model, wrapped, job.requests)
        assert_same(together, expected_updates(wrapped))
        assert not any(change.u.requires_grad or change.v.requires_grad for change in together.model)
    assert checksum(forward) == before
    assert not any(p.requires_grad or p.grad is not None for p in forward.host.model.parameters())


def test_many_jobs_are_trained_in_parts_with_one_scale_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    editor = make(make_forward("llama"), num_steps=2)
    jobs = [EditJob(f"case {i}", 1, (request,)) for i, request in enumerate(REQUESTS)]
    whole = editor.edit(jobs)
    monkeypatch.setattr(lora, "JOBS_TOGETHER", 3)
    seen: list[Progress] = []
    for result, expected in zip(editor.edit(jobs, seen.append), whole, strict=True):
        assert_same(result, updates(expected.model))
    assert [(each.done, each.total) for each in seen] == [(3, 8), (6, 8), (7, 8), (8, 8)]


@pytest.mark.parametrize("family", FAMILIES)
def test_edit_two_goes_on_training_the_adapter(family: str) -> None:
    forward = make_forward(family)
    editor = make(forward, weight_decay=0.1)
    second = EditRequest("The capital of {} is", "France", "Japan")
    first = editor.edit([EditJob("a", 1, (REQUESTS[0],))])[0]
    chained, fresh = editor.edit([EditJob("a", 2, (second,), first.model, first.state), EditJob("b", 1, (second,))])
    model, wrapped = adapted(forward, editor, start_of(forward))
    train_plainly(forward, editor, model, wrapped, [REQUESTS[0]])
    assert_same(first, expected_updates(wrapped))
    train_plainly(forward, editor, model, wrapped, [second])
    assert_same(chained, expected_updates(wrapped))  # the adapter is in the model once
    with pytest.raises(AssertionError):
        assert_same(fresh, expected_updates(wrapped), 1e-2)


def test_changes_that_are_not_its_own_stay_and_are_trained_under() -> None:
    forward = make_forward("llama")
    path = forward.host.down_projection_path(1)
    d_o, d_k = forward.host.matrix_shape(1)
    other = LowRankDelta(path, torch.ones(d_o, 1).double(), torch.ones(d_k, 1).double() / d_k)
    editor = make(forward)
    result = editor.edit([EditJob("a", 1, (REQUESTS[0],), (other,))])[0]
    assert result.model[0] is other
    again = editor.edit([EditJob("a", 2, (REQUESTS[0],), result.model, result.state)])[0]
    assert again.model[0] is other
    assert len(again.model) == len(result.model) == 1 + len(editor._modules)
    model, wrapped = adapted(forward, editor, start_of(forward))
    with torch.no_grad():
        model.get_submodule(path).inner.weight += other.u @ other.v.T
    train_plainly(forward, editor, model, wrapped, [REQUESTS[0]])
    assert_same(EditResult(result.model[1:]), expected_updates(wrapped))


def test_several_targets_are_trained_together_and_only_in_the_named_layers() -> None:
    forward = make_forward("gpt2")
    values: dict[str, Any] = {"layers": (1, 3), "target_modules": ("c_attn", "mlp.c_proj")}
    editor = make(forward, **values)
    assert editor.describe()["modules"] == [
        "transformer.h.1.attn.c_attn",
        "transformer.h.1.mlp.c_proj",
        "transformer.h.3.attn.c_attn",
        "transformer.h.3.mlp.c_proj",
    ]
    both = (REQUESTS[0], EditRequest("The capital of {} is", "France", "the queen of Spain"))
    results = editor.edit([EditJob("a", 1, both), EditJob("b", 1, (REQUESTS[1],))])
    for case, result, requests in zip("ab", results, (both, (REQUESTS[1],)), strict=True):
        model, wrapped = adapted(forward, editor, start_of(forward, case, **values))
        train_plainly(forward, editor, model, wrapped, requests)
        assert_same(result, expected_updates(wrapped))


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
def test_dropout_is_each_cases_own(
    family: str, monkeypatch: pytest.MonkeyPatch, forward_of: Callable[[str], Forward]
) -> None:
    """Batched equals one by one, whatever the padding; and equals adapters that are given the same masks."""
    forward = forward_of(family)
    editor = make(forward, lora_dropout=0.3)
    jobs = [EditJob(f"case {i}", 1, (request,)) for i, request in enumerate(REQUESTS)]
    batched = editor.edit(jobs)
    drawn: list[Tensor] = []
    keep = _StackedAdapters._keep

    def recorded(self: _StackedAdapters, batch: Batch) -> Tensor:
        drawn.append(keep(self, batch))
        return drawn[-1]

    monkeypatch.setattr(_StackedAdapters, "_keep", recorded)
    for job, together in zip(jobs, batched, strict=True):
        drawn.clear()
        assert_same(editor.edit([job])[0], updates(together.model))
        shares = torch.cat([mask.double().flatten() for mask in drawn])
        assert float(shares.mean()) == pytest.approx(0.7, abs=0.02)
        assert len(drawn) == 4
        assert not torch.equal(drawn[0], drawn[1])
        model, wrapped = adapted(forward, editor, start_of(forward, job.case_id))
        column = 0
        tokens = drawn[0].shape[1]
        for module in wrapped:
            width = module.a.shape[1]
            # The plain row has the target's last token too; causality hides it from the loss.
            padded = [
                torch.nn.functional.pad(mask[:, :, column : column + width].double(), (0, 0, 0, 1)) for mask in drawn
            ]
            module.masks = iter([each / 0.7 for each in padded])
            column += width
        assert tokens + 1 == len(naive.prompt_ids(forward.host.tokenizer, job.requests[0].question)) + len(
            forward.host.encoder.target(job.requests[0].target_new)
        )
        train_plainly(forward, editor, model, wrapped, job.requests)
        assert_same(together, expected_updates(wrapped))


def test_an_adapter_that_was_folded_is_not_there_twice() -> None:
    """Past break-even a change of the model before it and the adapter become one matrix."""
    forward = make_forward("llama")
    editor = make(forward, rank=40)
    before = tuple(
        LowRankDelta(name, torch.full((matrix.shape[0], 1), 1e-3).double(), torch.ones(matrix.shape[1], 1).double())
        for name in editor._modules
        for matrix in [forward.host.module(name).weight]
    )
    results: list[EditResult] = []
    for shorten in (folded, lambda model: model):
        first = editor.edit([EditJob("a", 1, (REQUESTS[0],), before)])[0]
        model = shorten(first.model)
        results.append(editor.edit([EditJob("a", 2, (REQUESTS[1],), model, first.state)])[0])
        assert any(isinstance(change, FoldedDelta) for change in model) is (shorten is folded)
    found, expected = results
    assert found.error is None
    assert len(found.model) == len(expected.model)
    for one, other in zip(found.model, expected.model, strict=True):
        assert isinstance(one, LowRankDelta)
        assert isinstance(other, LowRankDelta)
        assert torch.equal(one.u, other.u)
        assert torch.equal(one.v, other.v)


def test_the_seed_and_the_case_decide_the_start() -> None:
    forward = make_forward("llama")
    start = start_of(forward)
    assert all(torch.equal(a, b) for a, b in zip(start.a, start_of(forward).a, strict=True))
    assert not torch.equal(start.a[0], start_of(forward, "b").a[0])
    assert not torch.equal(start.a[0], start_of(forward, seed=1).a[0])
    for a in start.a:
        limit = a.shape[1] ** -0.5
        assert 0.9 * limit < float(a.abs().max()) <= limit
    assert all(float(b.abs().max()) < 1e-20 for b in start.b)


def test_the_edited_model_is_scored_with_the_adapter() -> None:
    forward = make_forward("gpt_neox")
    host, request = forward.host, REQUESTS[1]
    question = Question(1, host.encoder.prompt(request.question), host.encoder.target(request.target_new))
    editor = make(forward, num_steps=15)
    result = editor.edit([EditJob("a", 1, (request,))])[0]
    scorer = Scorer(forward, max_tokens=200)
    (after,) = scorer.mean_log_probs([(), result.model], [question])
    (before,) = scorer.mean_log_probs([(), ()], [question])
    model, wrapped = adapted(forward, editor, start_of(forward))
    train_plainly(forward, editor, model, wrapped, [request])
    expected = naive.mean_log_prob(model, host.tokenizer, request.question, request.target_new)
    assert after == pytest.approx(expected, abs=1e-6)
    assert after > before + 1


def test_a_broken_job_is_an_error_of_its_own() -> None:
    forward = make_forward("llama")
    path = forward.host.down_projection_path(1)
    d_o, d_k = forward.host.matrix_shape(1)
    bad = LowRankDelta(path, torch.full((d_o, 1), float("nan")).double(), torch.ones(d_k, 1).double())
    editor = make(forward)
    jobs = [
        EditJob("a", 1, (REQUESTS[0],)),
        EditJob("b", 1, (EditRequest("The capital of {} is", "France", " "),)),
        EditJob("c", 2, (REQUESTS[0],), (bad,)),
    ]
    good, empty, not_finite = editor.edit(jobs)
    assert_same(good, updates(editor.edit(jobs[:1])[0].model))
    assert "edit 1: the target ' ' has no tokens" in (empty.error or "")
    assert "edit 2: the loss is nan before the first step" in (not_finite.error or "")
    diverging = make(forward, lr=1e300).edit(jobs[:1])[0]
    assert "the edit diverges; lower lr (1e+300)" in (diverging.error or "")


def test_unknown_modules_are_refused_with_the_blocks_own_names() -> None:
    with pytest.raises(UsageError) as caught:
        make(make_forward("gpt2"), target_modules=("q_proj",))
    assert "no linear module 'q_proj'" in str(caught.value)
    assert "c_attn, c_fc, c_proj" in str(caught.value)
    with pytest.raises(UsageError, match="did you mean 'v_proj'"):
        make(make_forward("llama"), target_modules=("q_proj", "v_pro"))


def test_names_mean_whole_last_parts_and_none_means_two_projections() -> None:
    llama, neox = make_forward("llama"), make_forward("gpt_neox")
    assert make(llama, layers=(0,)).describe()["modules"] == [
        "model.layers.0.self_attn.o_proj",
        "model.layers.0.mlp.down_proj",
    ]
    assert make(neox, layers=(2,), target_modules="dense").describe()["modules"] == [
        "gpt_neox.layers.2.attention.dense"
    ]
    assert len(make(llama, target_modules=("q_proj", "v_proj")).describe()["modules"]) == 8


def test_adalora_is_said_to_be_lora() -> None:
    record = make(make_forward("llama"), lora_type="adalora").describe()
    assert "plain LoRA" in record["note"]
    assert record["seed"] == 0
    assert "note" not in make(make_forward("llama")).describe()
