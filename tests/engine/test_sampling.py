"""Text that a model samples: seeded, from the right distribution, and usable as context templates."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine import sampling
from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.sampling import (
    END_OF_TEXT,
    SEED_WORDS,
    context_templates,
    sample,
    sampled_documents,
    starts,
)
from pytest_editpitfalls.errors import UsageError
from tests.engine.conftest import make_forward
from tests.tiny_models import tiny_model

NAMES = ["gpt2", "llama", "mistral", "falcon_alibi"]
PUBLISHED = [(5, 10), (10, 10)]
"""ROME's ``context_template_length_params`` (kmeng01/rome, hparams/ROME/gpt2-xl.json)."""


def host_of(name: str) -> ModelAdapter:
    return make_forward(name).host


@torch.no_grad()
def next_probabilities(host: ModelAdapter, ids: list[int]) -> torch.Tensor:
    """Distribution of the next token, without special tokens; whole row, no cache."""
    logits = host.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].double()
    logits[host.tokenizer.all_special_ids] = -torch.inf
    return logits.softmax(dim=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_likeliest_token_is_taken_with_top_1(name: str) -> None:
    """Greedy decoding with kept keys and values equals whole rows run again for every token."""
    host = host_of(name)
    start = host.encoder.prompt("The capital of")
    starts = [start, (*start[:1], *reversed(start[1:]))]
    rows = sample(host, starts, len(starts[0]) + 9, seed=0, top_k=1)
    for start, row in zip(starts, rows, strict=True):
        assert tuple(row[: len(start)]) == start
        assert len(row) == len(start) + 9
        for end in range(len(start), len(row)):
            assert row[end] == int(next_probabilities(host, row[:end]).argmax())


def test_tokens_come_with_their_probabilities() -> None:
    host, count = host_of("llama"), 3000
    start = host.encoder.prompt("The king of")
    wanted = next_probabilities(host, list(start))
    rows = sample(host, [start] * count, len(start) + 1, seed=3, top_k=None)
    drawn = torch.bincount(torch.tensor([row[-1] for row in rows]), minlength=len(wanted)) / count
    deviation = (wanted * (1 - wanted) / count).sqrt()
    assert bool(((drawn - wanted).abs() <= 5 * deviation + 2 / count).all())
    assert not any(drawn[i] for i in host.tokenizer.all_special_ids)

    five = wanted.topk(5)
    rows = sample(host, [start] * count, len(start) + 1, seed=3, top_k=5)
    drawn = torch.bincount(torch.tensor([row[-1] for row in rows]), minlength=len(wanted)) / count
    assert set(drawn.nonzero()[:, 0].tolist()) == set(five.indices.tolist())
    share = five.values / five.values.sum()
    assert float((drawn[five.indices] - share).abs().max()) < 5 * 0.5 / count**0.5


def test_more_than_the_vocabulary_is_no_limit() -> None:
    host = host_of("gpt2")
    start = host.encoder.prompt("The")
    limited = sample(host, [start], 8, seed=1, top_k=10**6)
    assert limited == sample(host, [start], 8, seed=1, top_k=None)


def test_the_seed_decides_and_the_global_random_state_does_not() -> None:
    host = host_of("llama")
    torch.manual_seed(1)
    state = torch.get_rng_state()
    texts = context_templates(host, [(5, 5)], seed=0)
    documents = sampled_documents(host, 60, length=12, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert context_templates(host, [(5, 5)], seed=0) == texts
    assert sampled_documents(host, 60, length=12, seed=0) == documents
    assert context_templates(host, [(5, 5)], seed=1)[1:] != texts[1:]
    assert sampled_documents(host, 60, length=12, seed=1) != documents


def test_specials_are_never_sampled() -> None:
    host = host_of("llama")
    special = set(host.tokenizer.all_special_ids)
    for document in sampled_documents(host, 600, length=30, seed=0):
        assert document[0] == host.tokenizer.bos_token_id
        assert not special & set(document[1:])


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_context_templates_have_the_published_form(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_of(name)
    rows: list[list[int]] = []

    def watched(*args: Any, **options: Any) -> list[list[int]]:
        assert options["top_k"] == 5
        found = sample(*args, **options)
        rows.extend(found)
        return found

    monkeypatch.setattr(sampling, "sample", watched)
    templates = context_templates(host, PUBLISHED, seed=0)
    assert templates[0] == "{}"
    assert len(templates) == 21
    assert sorted(map(len, rows)) == [5] * 10 + [10] * 10  # tokens, the mark they start from included
    assert [(first,) for first in {row[0] for row in rows}] == starts(host)
    for template in templates[1:]:
        assert template.endswith(". {}")
        assert (template.count("{"), template.count("}"), template.count("\n")) == (1, 1, 0)
    assert len(set(map(tuple, rows))) > 17, "texts of the same start are the same"


@pytest.mark.parametrize(("name", "mark"), [("gpt2", END_OF_TEXT), ("llama", "<s>")])
def test_texts_start_from_the_mark_that_the_tokenizer_has(name: str, mark: str) -> None:
    host = host_of(name)
    assert starts(host) == [(host.tokenizer.convert_tokens_to_ids(mark),)]


def test_without_any_mark_five_templates_start_from_the_five_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """MEMIT's [[10, 5]]: one text from each seed word."""
    host = host_of("gpt2")
    monkeypatch.setattr(sampling, "starts", lambda _: [host.encoder.prompt(word) for word in SEED_WORDS])
    templates = context_templates(host, [(10, 5)], seed=0)
    assert len(templates) == 6
    for word, template in zip(SEED_WORDS, templates[1:], strict=True):
        assert template.startswith(word)


def test_braces_and_line_breaks_are_taken_out_of_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_of("gpt2")
    monkeypatch.setattr(type(host.encoder), "decode", lambda _self, _ids: "The {} {x}\n\n of\t}{ Rome")
    assert context_templates(host, [(5, 1)], seed=0) == ["{}", "The x of Rome. {}"]


def test_no_length_params_leave_the_bare_prompt() -> None:
    assert context_templates(host_of("gpt2"), [], seed=0) == ["{}"]


def test_a_length_below_the_seed_words_still_samples_one_token() -> None:
    host = host_of("llama")
    assert len(context_templates(host, [(1, 5)], seed=0)) == 6


@pytest.mark.parametrize(("tokens", "length", "rows"), [(1, 8, 4), (64, 8, 4), (65, 8, 4), (200, 8, 3)])
def test_documents_are_as_many_as_needed(tokens: int, length: int, rows: int) -> None:
    documents = sampled_documents(host_of("gpt2"), tokens, length=length, seed=0, rows=rows)
    assert {len(document) for document in documents} == {length}
    assert tokens <= len(documents) * length < tokens + length
    assert len({tuple(document) for document in documents}) > 0.9 * len(documents), "batches repeat one another"


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_model_that_overflows_is_one_clear_message(value: float) -> None:
    """As float16 does in some models; on a GPU drawing from NaN would end the process."""
    model, tokenizer = tiny_model("gpt2", tie=False)
    with torch.no_grad():
        model.lm_head.weight[3] = value
    host = ModelAdapter.of(model, tokenizer, family_for(model.config))
    with pytest.raises(UsageError, match="not finite") as caught:
        context_templates(host, [(5, 5)], seed=0)
    assert "--pitfalls-dtype" in (caught.value.fix or "")


def test_a_token_that_the_model_rules_out_is_no_overflow() -> None:
    def rule_out(logits: torch.Tensor) -> None:
        logits[..., 40:] = -torch.inf

    model, tokenizer = tiny_model("gpt2", tie=False)
    model.register_forward_hook(lambda _m, _a, output: rule_out(output.logits))
    host = ModelAdapter.of(model, tokenizer, family_for(model.config))
    start = host.encoder.prompt("The")
    assert max(sample(host, [start], 9, seed=0, top_k=None)[0][len(start) :]) < 40
