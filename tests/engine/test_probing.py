"""Every form of probe through `run_batch`, against whole rows of a model that is changed in place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.editing.interface import EditJob, EditResult
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.in_context import Window
from pytest_editpitfalls.engine.in_place.declare import in_place_editor
from pytest_editpitfalls.engine.overlay import EditedModel, LowRankDelta, PromptPrefix
from pytest_editpitfalls.engine.probing.answers import unscorable
from pytest_editpitfalls.engine.runner import run_batch
from pytest_editpitfalls.engine.scoring import Scorer
from pytest_editpitfalls.engine.settings import ProgressCallback, silent
from pytest_editpitfalls.pitfalls import Divergence, Generated, Perplexity, Program
from pytest_editpitfalls.probes import AnyProbe
from pytest_editpitfalls.program import CaseScores, ProbeScore
from tests.engine import naive
from tests.engine.conftest import make_forward, tolerance
from tests.engine.test_in_place import Bench, left
from tests.engine.test_overlay_and_scoring import transposed
from tests.engine.test_runner import FOUR, FakeEditor, program

TEXTS = ("Because of the rain, the game was stopped.", "One, two, three")
PROMPTS = ("The capital of France is", "The king")
STATES = ("0", "1", "12")
SAID = Generated("said", "0", PROMPTS, ("Rome",), max_tokens=5, stop="never")


def asking(number: int, *forms: AnyProbe) -> Program:
    """A case of the runner's tests that is asked these in several states besides."""
    plain = program(number)
    return replace(plain, probes=plain.probes + tuple(replace(form, state=s) for s in STATES for form in forms))


FORMS = (SAID, Perplexity("text", "0", TEXTS), Divergence("drift", "0", PROMPTS))


class FakePrefix(FakeEditor):
    """Its edits are text before the prompt."""

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        return [EditResult((*job.model, PromptPrefix(f"{job.requests[0].sentence}. \n"))) for job in jobs]


class Broken(FakeEditor):
    """Writes numbers that are finite and no use: what the model computes with them is not finite."""

    def delta(self, requests: Any, before: EditedModel) -> LowRankDelta:
        found = super().delta(requests, before)
        return replace(found, u=found.u * 1e200, v=found.v * 1e200)


def run(editor: FakeEditor, *programs: Program) -> list[CaseScores]:
    scorer = Scorer(editor.forward, max_tokens=200)
    return run_batch(editor, scorer, editor.forward.host.encoder, programs)


def plain_perplexity(forward: Forward, prefix: str, text: str) -> float:
    host = forward.host
    own = naive.prompt_ids(host.tokenizer, text)
    special = len(own) - len(host.tokenizer(text, add_special_tokens=False)["input_ids"])
    before = naive.prompt_ids(host.tokenizer, prefix) if prefix else own[:special]
    ids = before + own[special:]
    count = len(own) - max(special, 1)
    with torch.no_grad():
        log_p = host.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
    found = [float(log_p[place - 1, ids[place]]) for place in range(len(ids) - count, len(ids))]
    return math.exp(-sum(found) / count)


def next_token(forward: Forward, text: str) -> torch.Tensor:
    ids = torch.tensor([naive.prompt_ids(forward.host.tokenizer, text)])
    with torch.no_grad():
        return forward.host.model(input_ids=ids, use_cache=False).logits[0, -1].log_softmax(-1)


def by_form(answer: CaseScores, state: str) -> dict[str, ProbeScore]:
    return {probe.measure: probe for probe in answer.probes if probe.state == state}


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
@pytest.mark.parametrize("editor_class", [FakeEditor, FakePrefix])
def test_every_form_is_what_the_edited_model_gives_by_itself(family: str, editor_class: type[FakeEditor]) -> None:
    forward = make_forward(family)
    host, editor = forward.host, editor_class(forward)
    programs = [asking(number, *FORMS) for number in range(3)]
    base = {prompt: next_token(forward, prompt) for prompt in PROMPTS}
    for case, answer in zip(programs, run(editor, *programs), strict=True):
        assert answer.error is None
        model: EditedModel = ()
        for state, step in (("0", None), ("1", 0), ("12", 1)):
            if step is not None:
                (result,) = editor.edit([EditJob(case.case_id, step + 1, case.steps[step], model)])
                model = result.model
            prefix = "".join(change.text for change in model if isinstance(change, PromptPrefix))
            updates = [(each.module, each.u @ each.v.T) for each in model if isinstance(each, LowRankDelta)]
            found = by_form(answer, state)
            with naive.in_place(host.model, updates, transposed(forward)):
                wanted = [plain_perplexity(forward, prefix, text) for text in TEXTS]
                assert found["perplexity"].probabilities == pytest.approx(wanted, rel=100 * tolerance(forward))
                apart = []
                for prompt in PROMPTS:
                    edited = next_token(forward, prefix + prompt)
                    apart.append(float((base[prompt].exp() * (base[prompt] - edited)).sum()))
                assert found["divergence"].probabilities == pytest.approx(apart, rel=1e-5, abs=1e-9)
                for prompt, text in zip(PROMPTS, found["said"].texts, strict=True):
                    ids = torch.tensor([naive.prompt_ids(host.tokenizer, prefix + prompt)])
                    options = {"attention_mask": torch.ones_like(ids), "do_sample": False, "pad_token_id": 0}
                    new = host.model.generate(ids, max_new_tokens=5, **options)[0, ids.shape[1] :]
                    assert text == host.tokenizer.decode(new, skip_special_tokens=True).strip()
        assert by_form(answer, "0")["divergence"].probabilities == (0.0, 0.0)
        assert by_form(answer, "1")["divergence"].probabilities != (0.0, 0.0)


@pytest.mark.parametrize("keeps", ["weights", "hook"])
def test_an_edited_model_in_place_answers_every_form(keeps: str) -> None:
    """What is attached may look at anything: then the model's own `generate` speaks."""

    def edit(model: Any, _tokenizer: Any, requests: Any) -> Any:
        with torch.no_grad():
            model.model.layers[1].mlp.down_proj.weight.mul_(1.0 + len(requests[0]["subject"]) / 10)
        if keeps == "hook":
            left(model, "hook")
        return model

    bench = Bench()
    ids = torch.tensor([bench.host.encoder.prompt(PROMPTS[0])])
    case = replace(program(0), states=FOUR[:2], probes=tuple(replace(form, state="1") for form in FORMS))
    (answer,) = bench.scores(in_place_editor(keeps="attachments")(edit) if keeps == "hook" else edit, case)
    assert answer.error is None
    found = by_form(answer, "1")
    bench.check_restored()
    requests = [{"subject": case.steps[0][0].subject}]
    edit(bench.model, None, requests)
    options = {"attention_mask": torch.ones_like(ids), "do_sample": False, "pad_token_id": 0}
    new = bench.model.generate(ids, max_new_tokens=5, **options)[0, ids.shape[1] :]
    assert found["said"].texts[0] == bench.tokenizer.decode(new, skip_special_tokens=True).strip()
    wanted = [plain_perplexity(bench.forward, "", text) for text in TEXTS]
    assert found["perplexity"].probabilities == pytest.approx(wanted, rel=1e-7)
    assert min(found["divergence"].probabilities) > 0.0


def test_the_model_s_generation_config_asks_for_nothing_whatever_is_attached() -> None:
    """A repetition penalty is not applied where rows share a batch; so it is not by the model's own `generate`."""

    def edit(model: Any, _tokenizer: Any, _requests: Any) -> Any:
        left(model, "hook")
        return model

    bench = Bench()
    config = bench.model.generation_config
    case = replace(program(0), states=FOUR[:2], probes=(replace(SAID, state="1", max_tokens=12),))
    (plain,) = bench.scores(in_place_editor(keeps="attachments")(edit), case)
    config.repetition_penalty = 1.5
    try:
        (found,) = bench.scores(in_place_editor(keeps="attachments")(edit), case)
        assert bench.model.generation_config is config
    finally:
        config.repetition_penalty = None
    assert plain.error is None
    assert [probe.texts for probe in found.probes] == [probe.texts for probe in plain.probes]


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
@pytest.mark.parametrize("of", ["generation", "prompt", "edit"])
def test_what_is_longer_than_learned_positions_is_skipped_with_a_reason(family: str, of: str) -> None:
    forward = make_forward(family)
    size = forward.host.config.max_position_embeddings
    case, long = program(0), "x " * size
    probes: tuple[AnyProbe, ...] = (replace(SAID, max_tokens=size),)
    if of == "prompt":
        probes = (replace(FORMS[2], prompts=(long,)),)
    case = replace(case, states=FOUR[:1], probes=probes)
    if of == "edit":
        request = replace(case.steps[0][0], prompt=long + case.steps[0][0].prompt)
        case = replace(case, steps=((request,), *case.steps[1:]), probes=(SAID,))
    window, encoder = Window(forward.host), forward.host.encoder
    why = unscorable(case, encoder, window)
    if family == "llama":  # rotary positions have no end
        assert why is None
        return
    assert f"is longer than the model's {size} positions" in (why or "")
    (answer,) = run(FakeEditor(forward), case)
    assert (answer.skipped, answer.error) == (why, None)
    assert unscorable(program(0), encoder, window) is None


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (SAID, "its logits are not finite"),
        (FORMS[1], "perplexities are"),
        (FORMS[2], "distance from the base model is"),
    ],
)
def test_what_is_not_finite_is_an_error_in_words(form: AnyProbe, words: str) -> None:
    editor = Broken(make_forward("gpt2"))
    plain = replace(program(0), states=FOUR[:2], probes=(replace(form, state="1"),))
    sound = replace(program(1), states=FOUR[:1], probes=(replace(form, state="0"),))
    broken, well = run(editor, plain, sound)
    assert words in (broken.error or "")
    assert well.error is None


def test_a_text_without_a_token_to_predict_is_skipped_in_words() -> None:
    (answer,) = run(FakeEditor(make_forward("gpt2")), asking(0, Perplexity("text", "0", ("a",))))
    assert answer.skipped is not None
    assert "no token to be predicted" in answer.skipped


def test_answers_of_what_is_said_are_matched() -> None:
    editor = FakeEditor(make_forward("gpt2"))
    (first,) = run(editor, asking(0, SAID))
    texts = by_form(first, "0")["said"].texts
    right = replace(SAID, prompts=PROMPTS[:1], answers=("nothing of that", texts[0]))
    (again,) = run(editor, asking(0, replace(right, match="alias")))
    assert by_form(again, "0")["said"].probabilities == (1.0,)
    (again,) = run(editor, asking(0, replace(right, match="exact")))
    assert by_form(again, "0")["said"].probabilities == (0.0,)
