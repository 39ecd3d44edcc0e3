"""What many edited models say in one batch is what each says alone, changed in place, by Hugging Face's generate."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.editing.interface import EditJob
from pytest_editpitfalls.engine.forward import Forward, Rows
from pytest_editpitfalls.engine.generation import Continued, Generator, Prompt
from pytest_editpitfalls.engine.overlay import DenseDelta, EditedModel, LowRankDelta, Overlay
from tests.engine import naive
from tests.engine.conftest import make_forward
from tests.engine.test_grace import REQUESTS, make_grace
from tests.engine.test_overlay_and_scoring import checksum, random_models, transposed
from tests.engine.test_wise import make_wise

PROMPTS = ["Rome is", "The capital of France is", "In the news today, the president of the United States met", "The"]
LENGTH = 8


def dense(forward: Forward, seed: int) -> DenseDelta:
    """A whole matrix of the second block's down-projection changed, as fine-tuning does it."""
    d_o, d_k = forward.host.matrix_shape(1)
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(d_o, d_k, generator=generator, dtype=torch.float64) / d_k**0.5
    return DenseDelta(forward.host.down_projection_path(1), matrix)


def updates_of(model: EditedModel) -> list[tuple[str, torch.Tensor]]:
    return [(delta.module, delta.u @ delta.v.T if isinstance(delta, LowRankDelta) else delta.weight) for delta in model]


def generated(forward: Forward, prompt: Sequence[int], length: int, **options: Any) -> list[int]:
    """By the model as it stands, with its own `generate`."""
    ids = torch.tensor([list(prompt)])
    found = forward.host.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=length, pad_token_id=0, **options
    )
    return [int(token) for token in found[0, ids.shape[1] :]]


def test_many_edited_models_say_what_each_says_alone(any_forward: Forward) -> None:
    forward = any_forward
    experts = forward.host.family.mixture
    models: list[EditedModel] = [()] if experts else [*random_models(forward), (dense(forward, 5),)]
    before = checksum(forward)
    asked = [(model, forward.host.encoder.prompt(text)) for model in range(len(models)) for text in PROMPTS]
    said = Generator(forward, max_tokens=40).continued(models, [Prompt(m, ids, LENGTH) for m, ids in asked])
    assert checksum(forward) == before
    for (model, ids), found in zip(asked, said, strict=True):
        with naive.in_place(forward.host.model, updates_of(models[model]), not experts and transposed(forward)):
            assert found.tokens == generated(forward, ids, LENGTH), (model, ids)
    if not experts:
        assert len({tuple(found.tokens) for found in said}) > len(PROMPTS)  # the changes decide what is said


# Edges


@pytest.fixture
def gpt2() -> Iterator[Forward]:
    """With its own end of text after the test."""
    forward = make_forward("gpt2")
    config = forward.host.model.generation_config
    before = config.eos_token_id
    yield forward
    config.eos_token_id = before


def said(forward: Forward, prompts: Sequence[Prompt], models: Sequence[EditedModel] = ((),)) -> list[Continued]:
    return Generator(forward, max_tokens=1000).continued(models, prompts)


def first_of(wanted: Sequence[int], tokens: Sequence[int]) -> int:
    """The first place of one of the wanted tokens."""
    return next((place for place, token in enumerate(tokens) if token in wanted), len(tokens))


def test_rows_end_by_themselves_and_the_others_go_on(gpt2: Forward) -> None:
    """The two tokens end a text that make the lengths differ most: rows leave the batch one after another."""
    host, models = gpt2.host, random_models(gpt2)
    asked = [(model, host.encoder.prompt(text)) for model in range(4) for text in PROMPTS]
    free = said(gpt2, [Prompt(model, ids, LENGTH) for model, ids in asked], models)
    known = sorted({token for each in free for token in each.tokens})
    ends = max(itertools.combinations(known, 2), key=lambda pair: len({first_of(pair, each.tokens) for each in free}))
    host.model.generation_config.eos_token_id = sorted(ends)
    found = said(gpt2, [Prompt(model, ids, LENGTH) for model, ids in asked], models)
    assert len({len(each.tokens) for each in found}) > 3
    for (model, ids), each in zip(asked, found, strict=True):
        with naive.in_place(host.model, updates_of(models[model]), transposed(gpt2)):
            assert each.tokens == generated(gpt2, ids, LENGTH)
        assert each.tokens[-1] in ends or len(each.tokens) == LENGTH


def test_a_model_that_ends_at_once_says_nothing(gpt2: Forward) -> None:
    ids = gpt2.host.encoder.prompt(PROMPTS[0])
    (free,) = said(gpt2, [Prompt(0, ids, 1)])
    gpt2.host.model.generation_config.eos_token_id = free.tokens[0]
    (ended,) = said(gpt2, [Prompt(0, ids, 5)])
    assert (ended.tokens, ended.text, ended.is_finite) == (free.tokens, "", True)


def test_one_token_is_one_token_and_equal_prompts_are_asked_once(
    gpt2: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    blocks = Forward.blocks

    def counting(self: Forward, batch: Rows, **kwargs: Any) -> torch.Tensor:
        rows.append(len(batch.ids))
        return blocks(self, batch, **kwargs)

    monkeypatch.setattr(Forward, "blocks", counting)
    ids = gpt2.host.encoder.prompt(PROMPTS[1])
    found = said(gpt2, [Prompt(0, ids, 1)] * 3 + [Prompt(0, ids, 2)])
    assert [len(each.tokens) for each in found] == [1, 1, 1, 2]
    assert sum(rows) == 2
    assert said(gpt2, []) == []


def test_nothing_is_stacked_where_nothing_is_asked(gpt2: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_editpitfalls.engine.generation.generator.Overlay", None)
    assert said(gpt2, []) == []


def test_of_equal_logits_the_first_is_said(gpt2: Forward) -> None:
    """As `generate` does: an output of all zeros makes every token as likely as any other."""
    host = gpt2.host
    norm = host.model.transformer.ln_f
    ids = host.encoder.prompt(PROMPTS[0])
    host.model.generation_config.eos_token_id = None
    handle = norm.register_forward_hook(lambda _module, _args, output: torch.zeros_like(output))
    try:
        (found,) = said(gpt2, [Prompt(0, ids, 3)])
        assert found.tokens == generated(gpt2, ids, 3) == [0, 0, 0]
    finally:
        handle.remove()


def test_what_is_not_finite_is_not_said(gpt2: Forward) -> None:
    d_o, d_k = gpt2.host.matrix_shape(2)
    path = gpt2.host.down_projection_path(2)
    broken = LowRankDelta(path, torch.full((d_o, 1), float("nan")), torch.ones(d_k, 1))
    ids = gpt2.host.encoder.prompt(PROMPTS[0])
    bad, good = said(gpt2, [Prompt(1, ids, 3), Prompt(0, ids, 3)], [(), (broken,)])
    assert (bad.tokens, bad.is_finite) == ([], False)
    assert good.tokens == generated(gpt2, ids, 3)


def test_a_text_stops_where_its_sentence_ends(gpt2: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows' words are made up; the tokens after the end are not generated."""
    words = ["He", " was", " born", " in", " St", ".", " Louis", ".", " It", " is", " big", "."]
    monkeypatch.setattr(Generator, "_text", lambda _self, tokens: "".join(words[: len(tokens)]))
    ids = gpt2.host.encoder.prompt(PROMPTS[0])
    found = said(gpt2, [Prompt(0, ids, 12, "sentence"), Prompt(0, ids, 7, "sentence"), Prompt(0, ids, 12, "never")])
    assert [len(each.tokens) for each in found] == [9, 7, 12]
    assert [each.text for each in found] == [
        "He was born in St. Louis.",
        "He was born in St. Louis",
        "He was born in St. Louis. It is big.",
    ]


# Changes that are no matrices


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt"])
@pytest.mark.parametrize("editor", ["grace", "wise"])
def test_hooks_decide_on_the_prompt_for_each_row(name: str, editor: str) -> None:
    """Rows of several edited models and lengths; the oracle is one edited model at a time that generates."""
    forward = make_forward(name)
    host = forward.host
    made = make_grace(forward) if editor == "grace" else make_wise(forward)
    models = [(), *(result.model for result in made.edit([EditJob(f"P{n}", 1, (r,)) for n, r in enumerate(REQUESTS)]))]
    texts = [request.question for request in REQUESTS] + PROMPTS
    asked = [(model, host.encoder.prompt(text)) for model in range(len(models)) for text in texts]
    found = said(forward, [Prompt(model, ids, 6) for model, ids in asked], models)
    overlay = Overlay(host, models)
    for (model, ids), each in zip(asked, found, strict=True):
        with overlay.serving(model):
            assert each.tokens == generated(forward, ids, 6)
    base = [each.tokens for each in found[: len(texts)]]
    assert any(each.tokens != base[number % len(texts)] for number, each in enumerate(found))
