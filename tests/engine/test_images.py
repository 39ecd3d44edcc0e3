"""Models that take images, too, asked with text alone: as the whole model answers, and as its language model alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from pytest_editpitfalls.engine.editing.interface import EditJob
from pytest_editpitfalls.engine.models import load, memory_estimate, resolve
from pytest_editpitfalls.engine.overlay import LowRankDelta
from pytest_editpitfalls.engine.scoring import Question, Scorer
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from tests.engine import naive
from tests.engine.conftest import IMAGES, make_forward, tolerance
from tests.engine.test_experts import PROMPTS, REQUEST, TARGETS
from tests.tiny_models import TINY, save_tiny, tiny_model


@pytest.mark.parametrize("name", IMAGES)
def test_scores_are_those_of_the_whole_models_own_logits(name: str) -> None:
    """Which is called as anybody would call it: without positions, without a mask."""
    forward = make_forward(name)
    host = forward.host
    assert type(host.model).__name__.endswith("ForConditionalGeneration")
    asked = [(p, t) for p in PROMPTS for t in TARGETS]
    questions = [Question(0, host.encoder.prompt(p), host.encoder.target(t)) for p, t in asked]
    got = Scorer(forward, max_tokens=60).mean_log_probs([()], questions)
    for (prompt, target), value in zip(asked, got, strict=True):
        expected = naive.mean_log_prob(host.model, host.tokenizer, prompt, target)
        assert abs(value - expected) < tolerance(forward)


@pytest.mark.parametrize("name", IMAGES)
def test_an_edit_is_the_same_as_in_place(name: str) -> None:
    forward = make_forward(name)
    host, path = forward.host, forward.host.down_projection_path(1)
    assert path.startswith("model.language_model.")
    generator = torch.Generator().manual_seed(1)
    u, v = (torch.randn(n, 2, generator=generator, dtype=torch.float64) / 6 for n in host.matrix_shape(1))
    question = Question(0, host.encoder.prompt(REQUEST.question), host.encoder.target(REQUEST.target_new))
    scorer = Scorer(forward, max_tokens=60)
    (value,) = scorer.mean_log_probs([(LowRankDelta(path, u, v),)], [question])
    with naive.in_place(host.model, [(path, u @ v.T)], False):
        expected = naive.mean_log_prob(host.model, host.tokenizer, REQUEST.question, REQUEST.target_new)
    assert abs(value - expected) < 20 * tolerance(forward)
    assert abs(value - scorer.mean_log_probs([()], [question])[0]) > 1e-3


@pytest.mark.parametrize("name", ["gemma3_images", "llava", "llava_of_gpt_neox", "mistral3", "internvl"])
def test_the_language_model_alone_answers_the_same(name: str) -> None:
    model, tokenizer = tiny_model(name)
    alone = AutoModelForCausalLM.from_config(model.config.text_config).eval()
    alone.base_model.load_state_dict(model.model.language_model.state_dict())
    alone.get_output_embeddings().load_state_dict(model.get_output_embeddings().state_dict())
    ids = torch.tensor([tokenizer(PROMPTS[0]).input_ids])
    with torch.no_grad():
        torch.testing.assert_close(alone(input_ids=ids).logits, model(input_ids=ids).logits)


@pytest.mark.parametrize("name", IMAGES)
def test_a_checkpoint_is_loaded_as_the_class_it_was_saved_from(name: str, tmp_path: Path) -> None:
    source = resolve(str(save_tiny(tmp_path / name, name)), cache_dir=tmp_path / "cache")
    model, _ = load(source, device="cpu")
    assert type(model).__name__ == type(tiny_model(name)[0]).__name__
    assert memory_estimate(source, device="cpu").parameters == sum(each.numel() for each in model.parameters())


def test_a_session_edits_one_from_a_directory(tmp_path: Path) -> None:
    session = EngineSession.open(EngineSettings(str(save_tiny(tmp_path / "tiny", "gemma3_images"))))
    described = session.describe("ft")
    assert described["model"]["architecture"] == "Gemma3ForConditionalGeneration"
    assert described["model"]["family"] == TINY["gemma3_images"].model_type
    (result,) = session.editors.prepared("ft", lambda _: None).edit([EditJob("a", 1, (REQUEST,))])
    assert next(delta.module for delta in result.model).startswith("model.language_model.layers.")
