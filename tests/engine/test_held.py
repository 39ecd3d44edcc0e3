"""Held questions: what pruning answers is what asking for every rival answers."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from pytest_editpitfalls.engine.block_probe import first_tensor
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.held import HeldAnswers, is_brief, object_vectors
from pytest_editpitfalls.engine.scoring import Question, Scorer
from pytest_editpitfalls.errors import UnscorableCase
from pytest_editpitfalls.program import HeldAnswer, HeldQuestion, Score
from tests.engine.conftest import make_forward

WORDS = ("Rome", "Paris", "the", "queen", "of", "Spain", "Tokyo", "Russian", "a", "big", "日本", "n", "e", "!", "king")
PROMPTS = ("The capital of France is", "The king speaks", "In", "日本の首都は", "The mother of the king is the")


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma2"])
def forward(request: pytest.FixtureRequest) -> Forward:
    return make_forward(request.param)


def drawn(draw: random.Random, count: int) -> tuple[str, ...]:
    """Labels of one to four words, some of which begin as another one, and some that no tokenizer writes."""
    found = {" ".join(draw.choice(WORDS) for _ in range(draw.choice((1, 1, 2, 3, 4)))): None for _ in range(count)}
    return (*found, " ")


def brute_force(forward: Forward, question: HeldQuestion) -> HeldAnswer:
    """The same by the ordinary scorer, with every rival."""
    encoder = forward.host.encoder
    scorer = Scorer(forward, max_tokens=2048)

    def values(prompt: str) -> dict[str, dict[Score, float]]:
        targets = {}
        for label in dict.fromkeys([question.object, *question.rivals()]):
            with contextlib.suppress(UnscorableCase):
                targets[label] = encoder.target(label, question.joiner)
        asked = [Question(0, encoder.prompt(prompt), target) for target in targets.values()]
        means = scorer.mean_log_probs([()], asked)
        return {
            label: {"mean": mean, "sum": mean * len(target)}
            for (label, target), mean in zip(targets.items(), means, strict=True)
        }

    def wins(found: dict[str, dict[Score, float]], score: Score) -> bool:
        return all(found[question.object][score] > found[label][score] for label in found if label != question.object)

    first = values(question.prompts[0])
    rivals = [label for label in first if label != question.object]
    won = all(wins(first, score) for score in question.scores)
    share = None
    if won and len(question.prompts) > 1:
        others = [values(prompt) for prompt in question.prompts[1:]]
        share = sum(all(wins(each, score) for score in question.scores) for each in others) / len(others)
    best: dict[Score, tuple[str, float]] = {}
    for score in ("mean", "sum"):
        if rivals:
            label = max(rivals, key=lambda each: first[each][score])
            best[score] = (label, first[label][score])
    return HeldAnswer(
        holds=won and (share is None or share >= question.share),
        wins={"mean": wins(first, "mean"), "sum": wins(first, "sum")},
        log_probabilities=first[question.object],
        strongest=best,
        share=share,
    )


def close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-5)


def assert_same(found: HeldAnswer, wanted: HeldAnswer) -> None:
    assert (found.holds, dict(found.wins), found.share) == (wanted.holds, dict(wanted.wins), wanted.share)
    for score in ("mean", "sum"):
        assert close(found.log_probabilities[score], wanted.log_probabilities[score])
        assert (score in found.strongest) == (score in wanted.strongest)
        if score in wanted.strongest:
            assert close(found.strongest[score][1], wanted.strongest[score][1])
            assert found.strongest[score][0] == wanted.strongest[score][0]


def questions(seed: int, count: int = 12) -> list[HeldQuestion]:
    draw = random.Random(seed)
    labels = drawn(draw, draw.choice((3, 40, 150)))
    found = []
    for number in range(count):
        label = draw.choice(labels[:-1])
        scores: tuple[Score, ...] = draw.choice((("mean",), ("sum",), ("mean", "sum")))
        prompts = tuple(draw.sample(PROMPTS, draw.choice((1, 3))))
        found.append(
            HeldQuestion(
                f"q{number}",
                prompts,
                label,
                labels,
                scores=scores,
                share=draw.choice((0.0, 0.5, 1.0)),
                joiner=draw.choice((" ", "")),
                not_rivals=tuple(draw.sample(labels, draw.choice((0, 1, 2)))),
            )
        )
    return found


@pytest.mark.parametrize("seed", range(6))
def test_pruned_is_what_asking_for_every_rival_gives(forward: Forward, seed: int) -> None:
    asked = questions(seed)
    answers = HeldAnswers(forward, forward.host.encoder, max_tokens=256).answers(asked, strongest=True)
    each = HeldAnswers(forward, forward.host.encoder, max_tokens=256).answers(asked)
    deciding = HeldAnswers(forward, forward.host.encoder, max_tokens=64).holds(asked)
    for question, answer, quick, holds in zip(asked, answers, each, deciding, strict=True):
        wanted = brute_force(forward, question)
        assert_same(answer, wanted)
        assert holds == wanted.holds
        assert_same(replace(quick, strongest=wanted.strongest), wanted)
        assert quick.rows <= answer.rows


def best_and_last(forward: Forward, labels: Sequence[str], score: Score) -> tuple[str, str]:
    """The likeliest of the labels after the first prompt, and the second."""
    question = HeldQuestion("", PROMPTS[:1], labels[0], tuple(labels))
    rest = list(labels)
    order = []
    for _ in range(2):
        answer = brute_force(forward, replace(question, object=rest[0], candidates=tuple(rest)))
        label, value = answer.strongest[score]
        best = rest[0] if answer.log_probabilities[score] > value else label
        order.append(best)
        rest.remove(best)
    return order[0], order[1]


@pytest.mark.parametrize("score", ["mean", "sum"])
def test_the_likeliest_object_is_held_and_the_second_is_not(forward: Forward, score: Score) -> None:
    labels = drawn(random.Random(99), 80)[:-1]
    first, second = best_and_last(forward, labels, score)
    held = HeldAnswers(forward, forward.host.encoder, max_tokens=256)
    best = HeldQuestion("best", PROMPTS[:1], first, labels, scores=(score,))
    other = HeldQuestion("second", PROMPTS[:1], second, labels, scores=(score,))
    beside = replace(other, not_rivals=(first,))
    assert held.holds([best, other, beside]) == [True, False, True]
    answers = held.answers([best, other, beside], strongest=True)
    assert [answer.holds for answer in answers] == [True, False, True]
    assert answers[0].strongest[score][0] == second
    assert answers[1].strongest[score][0] == first


@pytest.mark.parametrize("decide", [True, False])
def test_a_rival_that_is_written_alike_ties_and_beats(forward: Forward, decide: bool) -> None:
    """Precomposed and combined letters become one text where a tokenizer normalises; here: two labels, one list."""
    encoder = forward.host.encoder
    held = HeldAnswers(forward, encoder, max_tokens=256)
    labels = drawn(random.Random(5), 60)[:-1]
    first, _ = best_and_last(forward, labels, "mean")
    alike = _Alike(encoder, first)
    held._encoder = alike
    question = HeldQuestion("tie", PROMPTS[:1], first, (*labels, "twin"), scores=("mean", "sum"))
    if decide:
        assert held.holds([question]) == [False]
        assert held.holds([replace(question, not_rivals=("twin",))]) == held.holds(
            [replace(question, candidates=labels)]
        )
    else:
        (answer,) = held.answers([question], strongest=True)
        assert answer.holds is False
        assert answer.strongest["mean"] == ("twin", answer.log_probabilities["mean"])


class _Alike:
    """Writes "twin" as another label."""

    def __init__(self, encoder: object, label: str) -> None:
        self._encoder, self._label = encoder, label

    def target(self, label: str, joiner: str = " ") -> tuple[int, ...]:
        return self._encoder.target(self._label if label == "twin" else label, joiner)  # type: ignore[attr-defined]

    def prompt(self, text: str) -> tuple[int, ...]:
        return self._encoder.prompt(text)  # type: ignore[attr-defined]


def test_an_object_that_cannot_be_written_is_unknown_and_without_rivals_it_is_held(forward: Forward) -> None:
    held = HeldAnswers(forward, forward.host.encoder, max_tokens=256)
    unknown = HeldQuestion("unknown", PROMPTS[:2], " ", ("Rome", "Paris"), share=0.5)
    alone = HeldQuestion("alone", PROMPTS[:1], "Rome", ("Rome", " "), scores=("sum",))
    assert [answer.holds for answer in held.answers([unknown, alone])] == [None, True]
    assert held.answers([alone])[0].strongest == {}
    assert held.answers([]) == []


def test_pruning_asks_for_few_of_many(forward: Forward) -> None:
    labels = tuple(f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS[:6])
    held = HeldAnswers(forward, forward.host.encoder, max_tokens=1024)
    (answer,) = held.answers([HeldQuestion("q", PROMPTS[:1], labels[7], labels)], strongest=True)
    assert_same(answer, brute_force(forward, HeldQuestion("q", PROMPTS[:1], labels[7], labels)))
    assert answer.rows < len(labels) / 2  # of a random model, which finds all words about as likely


def test_an_answer_is_remembered_whatever_its_name(forward: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    held = HeldAnswers(forward, forward.host.encoder, max_tokens=1024)
    question = HeldQuestion("edit1", PROMPTS[:1], "Rome", ("Paris", "Tokyo"), scores=("mean", "sum"))
    first = held.holds([question])
    monkeypatch.setattr(forward, "blocks", None)
    assert held.holds([replace(question, name="tied")]) == first


def test_which_questions_ride_on_the_pass_of_the_probes() -> None:
    brief = HeldQuestion("edit1", ("x",), "a", ("b",))
    assert is_brief(brief)
    longer = [{"prompts": ("x", "y")}, {"scores": ("sum",)}, {"candidates": ("b",) * 33}, {"not_rivals": ("b",)}]
    assert not any(is_brief(replace(brief, **each)) for each in longer)  # type: ignore[arg-type]


def test_object_vectors_are_means_over_the_objects_tokens(forward: Forward) -> None:
    asked = [(PROMPTS[0], "the queen of Spain"), (PROMPTS[1], "Rome"), (PROMPTS[0], " ")]
    found = object_vectors(forward, asked, 0.5, " ", max_tokens=64)
    assert found[2] is None
    host = forward.host
    for (prompt, label), vector in zip(asked[:2], found, strict=False):
        ids = host.encoder.prompt(prompt) + host.encoder.target(label)
        seen: list[torch.Tensor] = []
        hook = host.blocks[forward.n_layers // 2 - 1].register_forward_hook(
            lambda _module, _given, output, seen=seen: seen.append(first_tensor(output))
        )
        with torch.no_grad():
            host.model(torch.tensor([ids]))
        hook.remove()
        wanted = seen[0][0, len(host.encoder.prompt(prompt)) :].mean(dim=0)
        assert vector is not None
        assert torch.allclose(torch.from_numpy(vector), wanted.float(), atol=1e-4)
    with pytest.raises(ValueError, match="fraction"):
        object_vectors(forward, asked, 0.0, " ", max_tokens=64)
