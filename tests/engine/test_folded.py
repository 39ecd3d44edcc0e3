"""Many deltas as few: joined ones are the same bit for bit, folded ones as far as one rounding, private weights too."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.overlay import (
    DenseDelta,
    EditedModel,
    FoldedDelta,
    LowRankDelta,
    Overlay,
    PromptPrefix,
    RowContext,
    break_even,
    folded,
)
from pytest_editpitfalls.engine.overlay.folded import DENSE, JOINED
from pytest_editpitfalls.engine.scoring import Question, Scorer
from tests.engine.conftest import make_forward, tolerance
from tests.engine.test_dense_delta import random_delta

PROMPTS = ["The capital of France is", "The mother of the king", "Rome is "]


def rank_one(forward: Forward, layer: int, seed: int, dtype: torch.dtype = torch.float64) -> LowRankDelta:
    generator = torch.Generator().manual_seed(seed)
    d_o, d_k = forward.host.matrix_shape(layer)
    u = torch.randn(d_o, 1, generator=generator, dtype=torch.float64) / 10
    v = torch.randn(d_k, 1, generator=generator, dtype=torch.float64) / d_k**0.5
    return LowRankDelta(forward.host.down_projection_path(layer), u.to(dtype), v.to(dtype))


def grown(forward: Forward, count: int, dtype: torch.dtype = torch.float64) -> EditedModel:
    """A chain of so many edits of two layers, folded as it grows."""
    model: EditedModel = ()
    for seed in range(count):
        model = folded((*model, rank_one(forward, 1, seed, dtype), rank_one(forward, 2, 1000 + seed, dtype)))
    return model


def plain(forward: Forward, count: int, dtype: torch.dtype = torch.float64) -> EditedModel:
    return tuple(
        each
        for seed in range(count)
        for each in (rank_one(forward, 1, seed, dtype), rank_one(forward, 2, 1000 + seed, dtype))
    )


def scores(forward: Forward, models: list[EditedModel]) -> list[list[float]]:
    encoder = forward.host.encoder
    questions = [
        Question(number, encoder.prompt(prompt), encoder.target(target))
        for number in range(len(models))
        for prompt in PROMPTS
        for target in ("Paris", "the queen of Spain")
    ]
    found = Scorer(forward, max_tokens=200).mean_log_probs(models, questions)
    size = len(found) // len(models)
    return [found[start : start + size] for start in range(0, len(found), size)]


def matrix(model: EditedModel, module: str) -> Any:
    parts = [d.u.double() @ d.v.double().T for d in model if isinstance(d, LowRankDelta) and d.module == module]
    parts += [d.weight.double() for d in model if isinstance(d, DenseDelta) and d.module == module]
    return torch.stack(parts).sum(dim=0)


def test_a_short_chain_is_left_as_it_is(forward: Forward) -> None:
    model = plain(forward, JOINED - 1)
    assert folded(model) is model
    whole = tuple(random_delta(forward, 2, seed) for seed in range(DENSE))
    assert folded(whole) is whole


def test_a_single_change_is_left_as_it_is() -> None:
    forward = make_forward("gpt2")
    d_o, d_k = forward.host.matrix_shape(1)
    high = break_even(d_o, d_k) + 1
    model = (LowRankDelta(forward.host.down_projection_path(1), torch.ones(d_o, high), torch.ones(d_k, high)),)
    assert folded(model) is model


def test_joined_deltas_give_the_same_bits() -> None:
    forward = make_forward("llama")
    model = plain(forward, JOINED)
    short = folded(model)
    assert [type(change) for change in short] == [LowRankDelta, LowRankDelta]
    assert scores(forward, [short, ()]) == scores(forward, [model, ()])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_past_break_even_the_sum_is_one_matrix(dtype: torch.dtype) -> None:
    forward = make_forward("gpt2")
    most = break_even(*forward.host.matrix_shape(1))
    count = 5 * most + 3
    model, expected = grown(forward, count, dtype), plain(forward, count, dtype)
    kinds = {type(change) for change in model}
    assert FoldedDelta in kinds
    assert len(model) < 2 * (most + 2)
    for module in {change.module for change in model}:
        got, wanted = matrix(model, module), matrix(expected, module)
        # one rounding to the deltas' own precision for each folding, and none where a sum is exact
        assert float((got - wanted).norm() / wanted.norm()) < 20 * torch.finfo(dtype).eps
        assert sum(type(change) is FoldedDelta for change in model if change.module == module) == 1


def test_a_chain_never_takes_more_than_break_even_allows() -> None:
    forward = make_forward("gpt2")
    d_o, d_k = forward.host.matrix_shape(1)
    model: EditedModel = ()
    sizes = []
    for seed in range(6 * break_even(d_o, d_k)):
        model = folded((*model, rank_one(forward, 1, seed)))
        sizes.append(sum(change.nbytes() for change in model))
    assert max(sizes) <= 8 * d_o * d_k * 1.2


def test_whole_matrices_are_added_up(forward: Forward) -> None:
    model = tuple(random_delta(forward, 2, seed, bias=True) for seed in range(DENSE + 1))
    (one,) = folded(model)
    assert isinstance(one, FoldedDelta)
    assert torch.allclose(one.weight, sum(each.weight for each in model), rtol=1e-12, atol=1e-12)
    assert one.bias is not None
    assert torch.allclose(one.bias, sum(each.bias for each in model if each.bias is not None), atol=1e-12)
    again = folded((one, random_delta(forward, 2, 99, bias=True)))
    assert len(again) == 1


def test_changes_that_do_not_add_up_are_left_alone() -> None:
    forward = make_forward("gpt2")

    class Hook:
        module = forward.host.down_projection_path(1)

    model = (*plain(forward, JOINED), Hook(), PromptPrefix("So: "))
    short = folded(model)
    ones = [change for change in short if getattr(change, "module", "") == Hook.module]
    assert ones == [change for change in model if getattr(change, "module", "") == Hook.module]
    assert short[-1] == PromptPrefix("So: ")


def test_scores_are_those_of_the_deltas_one_by_one(forward: Forward) -> None:
    count = 2 * break_even(*forward.host.matrix_shape(1))
    model, expected = grown(forward, count), plain(forward, count)
    assert len(model) < len(expected)
    # a model by itself has weights of its own; beside another one it has a hook
    alone, beside, wanted = scores(forward, [model])[0], scores(forward, [model, ()])[0], scores(forward, [expected])[0]
    for got, mixed, value in zip(alone, beside, wanted, strict=True):
        assert abs(got - value) < 50 * tolerance(forward)
        assert abs(mixed - value) < 50 * tolerance(forward)


def test_private_weights_are_in_place_only_while_one_model_is_asked(forward: Forward) -> None:
    host = forward.host
    module = host.down_projection(1)
    before = dict(module._parameters)
    bits = {name: None if value is None else value.detach().clone() for name, value in before.items()}
    model = folded(
        (
            *grown(forward, break_even(*host.matrix_shape(1)) + 1),
            random_delta(forward, 1, 5, bias=before.get("bias") is not None),
        )
    )
    overlay = Overlay(host, [model, ()])
    with overlay.rows(torch.tensor([0, 0])):
        assert module.weight is not before["weight"]
        assert not module._forward_hooks
    with pytest.raises(ZeroDivisionError), overlay.rows(torch.tensor([0])):
        raise ZeroDivisionError
    with overlay.rows(torch.tensor([0, 1])):
        assert module.weight is before["weight"]
        assert module._forward_hooks
    for name, value in module._parameters.items():
        assert value is before[name]
        assert value is None or torch.equal(value, bits[name])


def test_an_interrupt_while_private_weights_are_put_in_leaves_the_module_s_own() -> None:
    module = torch.nn.Linear(4, 3)
    own = dict(module._parameters)

    class Interrupted(dict[str, Any]):
        times = 0

        def update(self, *values: Any, **more: Any) -> None:
            super().update(*values, **more)
            self.times += 1
            if self.times == 1:
                raise KeyboardInterrupt

    module.__dict__["_parameters"] = Interrupted(own)
    context = FoldedDelta.stack([(FoldedDelta("x", torch.ones(3, 4)),)]).own_weights(
        RowContext(torch.tensor([0])), module
    )
    assert context is not None
    with pytest.raises(KeyboardInterrupt), context:
        pass
    assert module.weight is own["weight"]


def test_a_tied_weight_is_not_changed_for_the_other_module() -> None:
    forward = make_forward("gpt2")
    model = copy.deepcopy(forward.host.model)
    head = model.get_output_embeddings()
    assert head.weight is model.get_input_embeddings().weight
    delta = FoldedDelta("lm_head", torch.ones_like(head.weight))
    stacked = FoldedDelta.stack([(delta,)])
    context = stacked.own_weights(RowContext(torch.tensor([0])), head)
    assert context is not None
    with context:
        assert head.weight is not model.get_input_embeddings().weight
    assert head.weight is model.get_input_embeddings().weight


def test_half_precision_weights_are_not_replaced() -> None:
    """The sum would be rounded to eight bits, and a small edit would be gone."""
    module = torch.nn.Linear(4, 3, dtype=torch.bfloat16)
    delta = FoldedDelta("x", torch.full((3, 4), 1e-4))
    assert FoldedDelta.stack([(delta,)]).own_weights(RowContext(torch.tensor([0])), module) is None
