"""Whole matrices per row against weights changed in place, one row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.overlay import DenseDelta, EditedModel, LowRankDelta, Overlay, RowContext
from pytest_editpitfalls.engine.scoring import Question, Scorer
from tests.engine import naive
from tests.engine.conftest import make_forward, tolerance

PROMPTS = ["The capital of France is", "The mother of the king", "Danielle Darrieux speaks", "Rome is "]
TARGETS = ["Paris", "the queen of Spain"]


def random_delta(forward: Forward, layer: int, seed: int, *, bias: bool = False) -> DenseDelta:
    generator = torch.Generator().manual_seed(seed)
    d_o, d_k = forward.host.matrix_shape(layer)
    weight = torch.randn(d_o, d_k, generator=generator, dtype=torch.float64) / d_k**0.5
    shift = torch.randn(d_o, generator=generator, dtype=torch.float64) if bias else None
    return DenseDelta(forward.host.down_projection_path(layer), weight, shift)


def models_of(forward: Forward) -> list[EditedModel]:
    """The base model, one delta, two in one module, deltas in two layers."""
    return [
        (),
        (random_delta(forward, 2, 0),),
        (random_delta(forward, 2, 1), random_delta(forward, 2, 2)),
        (random_delta(forward, 1, 3), random_delta(forward, 3, 4)),
    ]


def test_scores_equal_in_place_edits_one_by_one(forward: Forward) -> None:
    host, models = forward.host, models_of(forward)
    # Prompt by prompt, so that rows of one model never stand together.
    asked = [(m, p, t) for p in PROMPTS for m in (2, 0, 3, 1) for t in TARGETS]
    questions = [Question(m, host.encoder.prompt(p), host.encoder.target(t)) for m, p, t in asked]
    got = Scorer(forward, max_tokens=200).mean_log_probs(models, questions)
    transposed = type(host.down_projection(0)).__name__ == "Conv1D"
    for (m, prompt, target), value in zip(asked, got, strict=True):
        updates = [(delta.module, delta.weight) for delta in models[m]]
        with naive.in_place(host.model, updates, transposed):
            expected = naive.mean_log_prob(host.model, host.tokenizer, prompt, target)
        assert abs(value - expected) < 20 * tolerance(forward), (m, prompt, target)


def call(deltas: Sequence[Sequence[DenseDelta]], rows: list[int], x: Tensor, output: Tensor) -> Tensor:
    hook = DenseDelta.stack(deltas).hook(RowContext(torch.tensor(rows)))
    return output if hook is None else hook(None, (x,), output)


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 1, 0, 1], [1, 1, 2], [0, 0], [2, 0, 2]])
@pytest.mark.parametrize("flat", [False, True])
def test_any_order_of_rows_and_flattened_rows(rows: list[int], flat: bool) -> None:
    forward = make_forward("gpt2")
    one, two, three = (random_delta(forward, 0, seed, bias=seed != 1) for seed in (0, 1, 2))
    deltas: list[list[DenseDelta]] = [[], [one], [two, three]]
    d_o, d_k = one.weight.shape
    x = torch.randn(len(rows), 5, d_k, dtype=torch.float64)
    output = torch.randn(len(rows), 5, d_o, dtype=torch.float64)
    before = output.clone()
    expected = output.clone()
    for i, model in enumerate(rows):
        for delta in deltas[model]:
            expected[i] += x[i] @ delta.weight.T + (0 if delta.bias is None else delta.bias)
    shape = (lambda t: t.reshape(-1, t.shape[-1])) if flat else (lambda t: t)
    got = call(deltas, rows, shape(x), shape(output))
    torch.testing.assert_close(got, shape(expected))
    assert torch.equal(output, before)  # the module's own output is left as it was


def test_no_hook_where_no_row_is_changed() -> None:
    forward = make_forward("llama")
    stacked = DenseDelta.stack([[], [random_delta(forward, 0, 0)]])
    assert stacked.hook(RowContext(torch.tensor([0, 0]))) is None
    assert stacked.hook(RowContext(torch.tensor([0, 1]))) is not None


def test_gradients_reach_inputs_and_each_models_own_matrices() -> None:
    forward = make_forward("llama")
    rows = [1, 2, 0, 1]
    leaves = [random_delta(forward, 0, seed, bias=True) for seed in (0, 1)]
    for delta in leaves:
        delta.weight.requires_grad_()
        assert delta.bias is not None
        delta.bias.requires_grad_()
    d_o, d_k = leaves[0].weight.shape
    x = torch.randn(4, 3, d_k, dtype=torch.float64, requires_grad=True)
    output = torch.randn(4, 3, d_o, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, 3, d_o, dtype=torch.float64)
    every: list[Tensor] = [x, output, *(t for d in leaves for t in (d.weight, d.bias) if t is not None)]
    got = torch.autograd.grad((call([[], [leaves[0]], [leaves[1]]], rows, x, output) * weights).sum(), every)
    parts = []
    for i, model in enumerate(rows):
        delta = leaves[model - 1]
        assert delta.bias is not None
        parts.append(output[i] + (x[i] @ delta.weight.T + delta.bias if model else 0))
    expected = torch.autograd.grad((torch.stack(parts) * weights).sum(), every)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_half_precision_models_get_the_sum_in_the_deltas_precision() -> None:
    x = torch.ones(1, 1, 4, dtype=torch.bfloat16)
    delta = DenseDelta("m", torch.full((2, 4), 0.001))
    output = torch.ones(1, 1, 2, dtype=torch.bfloat16)
    twice = call([[delta, delta]], [0], x, output)
    assert twice.dtype == torch.bfloat16
    assert torch.equal(twice, torch.full((1, 1, 2), 1.008).to(torch.bfloat16))
    assert not torch.equal(twice, output)


@torch.no_grad()
def test_generate_answers_as_the_edited_model_and_mixes_with_low_rank() -> None:
    forward = make_forward("opt")
    host, dense = forward.host, random_delta(forward, 1, 0)
    d_o, d_k = dense.weight.shape
    low = LowRankDelta(dense.module, torch.ones(d_o, 1).double() / d_o, torch.ones(d_k, 1).double())
    ids = torch.tensor([host.encoder.prompt(PROMPTS[0])] * 2)
    options: dict[str, Any] = {
        "max_new_tokens": 5,
        "do_sample": False,
        "attention_mask": torch.ones_like(ids),
        "pad_token_id": 0,
    }
    with Overlay(host, [(dense, low)]).serving(0):
        edited = host.model.generate(ids, **options)
        logits = host.model(input_ids=ids).logits
    with naive.in_place(host.model, [(dense.module, dense.weight), (low.module, low.u @ low.v.T)], False):
        expected = host.model.generate(ids, **options)
        torch.testing.assert_close(logits, host.model(input_ids=ids).logits)
    assert edited.tolist() == expected.tolist()


def test_finiteness_and_size() -> None:
    good = DenseDelta("m", torch.zeros(2, 3), torch.zeros(2))
    assert good.is_finite()
    assert good.nbytes() == 4 * 8
    assert not DenseDelta("m", torch.tensor([[float("nan")]])).is_finite()
    assert not DenseDelta("m", torch.zeros(1, 1), torch.tensor([float("inf")])).is_finite()
