"""Per-row deltas and shared scoring against weights changed in place, one row at a time, in every family."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.forward import Forward, Rows
from pytest_editpitfalls.engine.overlay import EditedModel, LowRankDelta, Overlay, PromptPrefix
from pytest_editpitfalls.engine.scoring import Question, Scorer
from tests.engine import naive
from tests.engine.conftest import tolerance

PROMPTS = ["The capital of France is", "The mother of the king", "Danielle Darrieux speaks", "Rome is "]
TARGETS = ["Paris", "the queen of Spain", "Russian and French"]


def random_models(forward: Forward) -> list[EditedModel]:
    """The base model, one delta, two of another rank in one module, and deltas in two layers."""
    generator = torch.Generator().manual_seed(1)

    def delta(layer: int, rank: int) -> LowRankDelta:
        d_o, d_k = forward.host.matrix_shape(layer)
        u = torch.randn(d_o, rank, generator=generator, dtype=torch.float64)
        v = torch.randn(d_k, rank, generator=generator, dtype=torch.float64) / d_k**0.5
        return LowRankDelta(forward.host.down_projection_path(layer), u, v)

    return [(), (delta(2, 1),), (delta(2, 2), delta(2, 1)), (delta(1, 1), delta(3, 3))]


def transposed(forward: Forward) -> bool:
    return type(forward.host.down_projection(0)).__name__ == "Conv1D"


def checksum(forward: Forward) -> str:
    digest = hashlib.sha256()
    for name, tensor in forward.host.model.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def test_scores_of_many_edited_models_equal_in_place_edits_one_by_one(forward: Forward) -> None:
    host, models = forward.host, random_models(forward)
    before = checksum(forward)
    asked = [(m, p, t) for m in range(len(models)) for p in PROMPTS for t in TARGETS]
    questions = [Question(m, host.encoder.prompt(p), host.encoder.target(t)) for m, p, t in asked]
    got = Scorer(forward, max_tokens=40).mean_log_probs(models, questions)
    together = Scorer(forward, max_tokens=10_000).mean_log_probs(models, questions)
    assert checksum(forward) == before
    torch.testing.assert_close(
        torch.tensor(got), torch.tensor(together), rtol=tolerance(forward), atol=tolerance(forward)
    )
    for (m, prompt, target), value in zip(asked, got, strict=True):
        updates = [(delta.module, delta.u @ delta.v.T) for delta in models[m]]
        with naive.in_place(host.model, updates, transposed(forward)):
            expected = naive.mean_log_prob(host.model, host.tokenizer, prompt, target)
        assert abs(value - expected) < 20 * tolerance(forward), (m, prompt, target)
    assert checksum(forward) == before


def test_models_differ_and_base_scores_do_not_depend_on_neighbours(forward: Forward) -> None:
    host, models = forward.host, random_models(forward)
    prompt, target = host.encoder.prompt(PROMPTS[0]), host.encoder.target(TARGETS[1])
    together = Scorer(forward, max_tokens=500).mean_log_probs(models, [Question(m, prompt, target) for m in range(4)])
    alone = Scorer(forward, max_tokens=500).mean_log_probs([()], [Question(0, prompt, target)])
    assert abs(together[0] - alone[0]) < tolerance(forward)
    assert len({round(value, 4) for value in together}) == 4


def test_a_long_common_start_is_encoded_once(forward: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text before every prompt, as in-context editors put it there; changed models are scored without the shortcut."""
    host = forward.host
    models = [(PromptPrefix("x"),), (PromptPrefix("y"),), random_models(forward)[1]]
    starts = ["The king of Spain speaks French. " * 4, "Rome is in Japan. " * 5, "The king of Rome. " * 5]
    asked = [(m, start + p, t) for m, start in enumerate(starts) for p in PROMPTS for t in TARGETS]
    questions = [Question(m, host.encoder.prompt(p), host.encoder.target(t)) for m, p, t in asked]
    passed: list[int] = []
    blocks = Forward.blocks

    def counting(self: Forward, rows: Rows, **kwargs: Any) -> torch.Tensor:
        passed.append(rows.ids.numel())
        return blocks(self, rows, **kwargs)

    monkeypatch.setattr(Forward, "blocks", counting)
    monkeypatch.setattr("pytest_editpitfalls.engine.scoring.questions.SHARED_TOKENS", 10_000)
    expected = Scorer(forward, max_tokens=500).mean_log_probs(models, questions)
    plain = sum(passed)
    monkeypatch.setattr("pytest_editpitfalls.engine.scoring.questions.SHARED_TOKENS", 12)
    for kept in (8192, 60):
        monkeypatch.setattr("pytest_editpitfalls.engine.scoring.scorer.KEPT_TOKENS", kept)
        passed.clear()
        got = Scorer(forward, max_tokens=50).mean_log_probs(models, questions)
        bound = tolerance(forward)
        torch.testing.assert_close(torch.tensor(got), torch.tensor(expected), rtol=bound, atol=bound)
        assert sum(passed) < 0.8 * plain


@torch.no_grad()
def test_generate_answers_as_the_edited_model(forward: Forward) -> None:
    host, models = forward.host, random_models(forward)
    ids = torch.tensor([host.encoder.prompt(PROMPTS[0]), host.encoder.prompt(PROMPTS[0])])
    options = {
        "max_new_tokens": 6,
        "do_sample": False,
        "attention_mask": torch.ones_like(ids),
        "pad_token_id": 0,
    }
    overlay = Overlay(host, [models[2]])
    plain_logits = host.model(input_ids=ids).logits
    with overlay.rows(torch.tensor([0])):
        edited = host.model.generate(ids, **options)
        edited_logits = host.model(input_ids=ids).logits
    updates = [(delta.module, delta.u @ delta.v.T) for delta in models[2]]
    with naive.in_place(host.model, updates, transposed(forward)):
        expected = host.model.generate(ids, **options)
    assert edited.tolist() == expected.tolist()
    assert float((edited_logits - plain_logits).abs().max()) > 0.01
    assert torch.equal(host.model(input_ids=ids).logits, plain_logits)
