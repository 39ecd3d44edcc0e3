"""Prompts that start alike and targets of several tokens: run behind what is kept, together, with the same answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_editpitfalls.engine.forward import Forward, KeptPrefix, Rows
from pytest_editpitfalls.engine.overlay import LowRankDelta, Overlay
from pytest_editpitfalls.engine.overlay.change import RowContext
from pytest_editpitfalls.engine.scoring import Question, Scorer
from pytest_editpitfalls.engine.scoring.continuations import Continuations
from pytest_editpitfalls.engine.scoring.questions import FOLLOWED_TOKENS, Text, following, texts_of
from tests.engine.conftest import tolerance

START = (5, 9, 4, 11, 6)
SHORT, LONG, LONGER = (7,), (8, 12), (13, 5, 9)


def edits(forward: Forward) -> list[tuple[LowRankDelta, ...]]:
    """The base model and two edited ones."""
    generator = torch.Generator().manual_seed(3)
    d_o, d_k = forward.host.matrix_shape(1)

    def delta() -> LowRankDelta:
        u = torch.randn(d_o, 1, generator=generator, dtype=torch.float64)
        v = torch.randn(d_k, 1, generator=generator, dtype=torch.float64)
        return LowRankDelta(forward.host.down_projection_path(1), u, 0.1 * v)

    return [(), (delta(),), (delta(),)]


QUESTIONS = [
    *(Question(m, (*START, 3), target) for m in (1, 2) for target in (SHORT, LONG)),
    *(Question(m, (*START, 10, 6), target) for m in (1, 2) for target in (SHORT, LONG)),
    Question(2, (*START, 10, 6, 7), SHORT),
    Question(2, (*START, 8, 3), LONGER),
    Question(2, (*START, 12), LONG),
    Question(2, (*START, 12), LONGER),  # two targets of several tokens: these go on with the prompt
    Question(0, (*START, 10, 6), LONG),
    Question(1, (4, 4, 3), LONGER),
]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    passed: list[int] = []
    blocks = Forward.blocks

    def counting(self: Forward, rows: Rows, **kwargs: Any) -> torch.Tensor:
        passed.append(int(rows.real.sum()) * (self.n_layers - kwargs.get("first", 0)))
        return blocks(self, rows, **kwargs)

    monkeypatch.setattr(Forward, "blocks", counting)
    return passed


def test_following_changes_no_answer_and_saves_tokens(forward: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    models, bound = edits(forward), tolerance(forward)
    alone = [
        Scorer(forward, max_tokens=500).mean_log_probs([models[q.model]], [Question(0, q.prompt, q.target)])
        for q in QUESTIONS
    ]
    expected = torch.tensor([value for (value,) in alone])
    passed = counted(monkeypatch)
    got = Scorer(forward, max_tokens=500).mean_log_probs(models, QUESTIONS)
    torch.testing.assert_close(torch.tensor(got), expected, rtol=bound, atol=bound)
    followed = sum(passed)
    monkeypatch.setattr("pytest_editpitfalls.engine.scoring.questions.FOLLOWED_TOKENS", 1000)
    passed.clear()
    Scorer(forward, max_tokens=500).mean_log_probs(models, QUESTIONS)
    assert followed < 0.9 * sum(passed)


def test_what_goes_on_waits_for_a_pass_and_no_longer_than_memory_allows(
    forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, bound = edits(forward), tolerance(forward)
    runs: list[int] = []
    run = Continuations.run

    def watched(self: Continuations) -> None:
        if self._waiting:
            runs.append(sum(len(each.rows) for each in self._waiting))
        run(self)

    monkeypatch.setattr(Continuations, "run", watched)
    expected = Scorer(forward, max_tokens=500).mean_log_probs(models, QUESTIONS)
    assert len(runs) == 1
    together = runs.pop()
    got = Scorer(forward, max_tokens=16).mean_log_probs(models, QUESTIONS)
    assert len(runs) > 1
    assert sum(runs) == together
    torch.testing.assert_close(torch.tensor(got), torch.tensor(expected), rtol=bound, atol=bound)


def test_a_text_with_two_long_targets_and_a_change_that_sees_the_prompt_follow_none(forward_of: Any) -> None:
    forward = forward_of("llama")
    models = edits(forward)

    class Looking(LowRankDelta):
        token_wise = False

    kept = models[1][0]
    overlay = Overlay(forward.host, [*models, (Looking(kept.module, kept.u, kept.v),)])
    assert [overlay.token_wise(model) for model in range(4)] == [True, True, True, False]

    def followers(*asked: tuple[tuple[int, ...], int, tuple[int, ...]]) -> int:
        answers: dict[Any, dict[Any, float]] = {}
        for prompt, model, target in asked:
            answers.setdefault((prompt, model), {})[target] = 0.0
        return sum(map(len, following(texts_of(answers), answers, overlay).values()))

    first, second = (*START, 3), (*START, 10)
    assert followers((first, 1, SHORT), (second, 1, LONG)) == 1
    assert followers((first, 1, SHORT), (second, 2, SHORT)) == 0
    assert followers((first, 3, SHORT), (second, 3, SHORT)) == 0
    both = ((LONG, LONGER),) * 2
    assert followers(*((p, 1, t) for p, two in zip((first, second), both, strict=True) for t in two)) == 0


def test_a_prompt_runs_once_below_whatever_stands_behind_it(forward: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    """One edited model is asked for several tokens, the other for one: they share the lower blocks."""
    models, bound, prompt = edits(forward)[1:3], tolerance(forward), (*START, 12, 3)
    asked = [Question(0, prompt, LONG), Question(0, prompt, SHORT), Question(1, prompt, SHORT)]
    alone = [
        Scorer(forward, max_tokens=500).mean_log_probs(models[q.model : q.model + 1], [replace(q, model=0)])
        for q in asked
    ]
    rows: list[tuple[int, int]] = []
    blocks = Forward.blocks

    def watched(self: Forward, given: Rows, **kwargs: Any) -> torch.Tensor:
        rows.append((kwargs.get("first", 0), int(given.real.sum())))
        return blocks(self, given, **kwargs)

    monkeypatch.setattr(Forward, "blocks", watched)
    got = Scorer(forward, max_tokens=500).mean_log_probs(models, asked)
    torch.testing.assert_close(torch.tensor(got), torch.tensor(alone).flatten(), rtol=bound, atol=bound)
    whole, bare = len(prompt) + len(LONG) - 1, len(prompt)
    assert [tokens for first, tokens in rows if first == 0] == [whole]
    assert [tokens for first, tokens in rows if first > 0] == [whole + bare]


tokens = st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple)


class _Free:
    """An overlay of models that may all be followed."""

    def token_wise(self, _model: int) -> bool:
        return True


def test_of_long_prompts_only_the_start_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_editpitfalls.engine.scoring.questions.SHARED_TOKENS", 6)
    prompts = [(*range(50), 7), (*range(50), 8)]
    answers = {(prompt, 0): {(1,): 0.0} for prompt in prompts}
    found = following({Text(prompt, ()): [0] for prompt in prompts}, answers, _Free())  # type: ignore[arg-type]
    assert [each.shared for group in found.values() for each in group] == [6]


@given(st.dictionaries(tokens, st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True), max_size=12))
def test_every_follower_starts_as_its_leader_and_has_something_left(prompts: dict[Any, list[int]]) -> None:
    texts = {Text(prompt, ()): models for prompt, models in prompts.items()}
    answers = {(prompt, model): {(1,): 0.0} for prompt, models in prompts.items() for model in models}
    found = following(texts, answers, _Free())  # type: ignore[arg-type]
    led = [(each.text, model) for (_, model), group in found.items() for each in group]
    assert len(led) == len(set(led))
    assert not set(led) & set(found)  # who is followed follows none
    for (leader, model), group in found.items():
        for each in group:
            prompt = each.text.prompt
            assert FOLLOWED_TOKENS <= each.shared < len(prompt)
            assert leader.prompt[: each.shared] == prompt[: each.shared]
            assert model in texts[each.text]
            assert model in texts[leader]


def test_prefixes_and_contexts_of_several_passes_are_joined() -> None:
    def prefix(rows: int, length: int, value: float) -> KeptPrefix:
        return KeptPrefix([None, (torch.full((rows, 2, length, 3), value),) * 2], length)

    joined = KeptPrefix.joined([prefix(1, 2, 1.0), prefix(2, 4, 2.0)])
    none, (keys, values) = joined._kept()
    assert none is None
    assert torch.equal(keys, values)
    assert (joined.length, tuple(keys.shape)) == (4, (3, 2, 4, 3))
    assert keys[0, 0, :, 0].tolist() == [0, 0, 1, 1]
    assert bool((keys[1:] == 2).all())
    one = RowContext(torch.tensor([3]), routes={"m": torch.tensor([7])}).take(torch.tensor([0, 0]))
    two = RowContext(torch.tensor([5]), routes={"m": torch.tensor([8])}).take(torch.tensor([0]))
    both = RowContext.joined([one, two])
    assert (both.models.tolist(), both.routes["m"].tolist()) == ([3, 3, 5], [7, 7, 8])
    assert both.continues
