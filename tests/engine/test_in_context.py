"""IKE and ICE: the text before the prompt, whose demonstrations it has, and the scores behind it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.editors.ice.editor import Ice
from pytest_editpitfalls.engine.editors.ice.hyperparameters import IceHyperparameters
from pytest_editpitfalls.engine.editors.ike import demonstrations as shown
from pytest_editpitfalls.engine.editors.ike.editor import Ike, MeanHiddenState, ranking
from pytest_editpitfalls.engine.editors.ike.hyperparameters import IkeHyperparameters
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.moments import SecondMoments
from pytest_editpitfalls.engine.overlay import PromptPrefix
from pytest_editpitfalls.engine.runner import run_batch
from pytest_editpitfalls.engine.scoring import Scorer
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import CaseError
from pytest_editpitfalls.pitfalls import Probe, Program
from pytest_editpitfalls.program import EditRequest, State, SuitePrograms
from tests.engine import naive
from tests.engine.conftest import make_forward, tolerance
from tests.tiny_models import save_tiny, tiny_model

FAMILIES = ["gpt2", "llama", "gpt_neox", "gemma2", "bloom", "smollm3", "gemma3_images"]
CAPITAL, SPEAKS = "The capital of {} is", "{} speaks"
FACTS = [
    ("a", CAPITAL, "France", "Rome", "Paris"),
    ("b", CAPITAL, "Japan", "Berlin", "Tokyo"),
    ("c", CAPITAL, "Brazil", "London", "Brasilia"),
    ("d", SPEAKS, "Danielle", "Russian", "French"),
    ("e", SPEAKS, "the king", "Portuguese", "Spanish"),
    ("f", SPEAKS, "paris", "Latin", "Greek"),
]


def program(case_id: str, prompt: str, subject: str, new: str, true: str | None) -> Program:
    request = EditRequest(prompt, subject, new, true, "P36" if prompt == CAPITAL else "P1412")
    second = EditRequest(prompt, subject, "Madrid", new, request.relation)
    prompts = (request.question, f"When asked about {subject}, we say")
    states = (State("1", (0,)), State("12", (0, 1)), State("2", (1,)))
    probes = tuple(Probe(state.name, state.name, prompts, target) for state in states for target in (new, "Madrid"))
    return Program(case_id, ((request,), (second,)), states, probes)


PROGRAMS = [program(*fact) for fact in FACTS]
SUITE = SuitePrograms("small", lambda: PROGRAMS)


def resources(forward: Forward) -> EditorResources:
    moments = SecondMoments(forward, fingerprint="tiny", cache=Path("unused"), max_tokens=500)
    return EditorResources(forward.host, forward, moments, EngineSettings("tiny"), 60)


def make_ike(forward: Forward, k: int = 4) -> Ike:
    return Ike(IkeHyperparameters(k=k), resources(forward))


def make_ice(forward: Forward) -> Ice:
    return Ice(IceHyperparameters(), resources(forward))


def job_of(place: int, suite: SuitePrograms | None = SUITE) -> EditJob:
    return EditJob(PROGRAMS[place].case_id, 1, PROGRAMS[place].steps[0], suite=suite)


def text_of(result: EditResult) -> str:
    assert result.error is None, result.error
    (prefix,) = result.model
    assert isinstance(prefix, PromptPrefix)
    return prefix.text


def test_ice_puts_facts_in_order_newest_last() -> None:
    ice = make_ice(make_forward("gpt2"))
    first = ice.edit([job_of(0)])[0]
    assert text_of(first) == "New Fact: The capital of France is Rome\nPrompt: "
    second = ice.edit([EditJob("a", 2, PROGRAMS[0].steps[1], first.model, first.state, SUITE)])[0]
    assert text_of(second) == (
        "New Fact: The capital of France is Rome\nNew Fact: The capital of France is Madrid\nPrompt: "
    )
    assert "newest last: The capital of France is Rome; The capital of France is Madrid" in second.notes[0]
    both = ice.edit([EditJob("a", 1, (*PROGRAMS[0].steps[0], *PROGRAMS[0].steps[1]))])[0]
    assert text_of(both) == text_of(second)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("editor", ["ike", "ice"])
def test_scores_equal_the_plain_way_with_the_text_in_front(name: str, editor: str) -> None:
    """Batched = one by one = whole rows through the bare model."""
    forward = make_forward(name)
    host = forward.host
    made: Any = make_ike(forward, 3) if editor == "ike" else make_ice(forward)
    # Prefixes of these lengths must fit the tiny models' window.
    results = run_batch(made, Scorer(forward, max_tokens=800), host.encoder, PROGRAMS[:3], suite=SUITE)
    for place, (case, scores) in enumerate(zip(PROGRAMS[:3], results, strict=True)):
        assert scores.error is None, scores.error
        alone = run_batch(made, Scorer(forward, max_tokens=60), host.encoder, [case], suite=SUITE)[0]
        first = made.edit([job_of(place)])[0]
        later = made.edit([EditJob(case.case_id, 2, case.steps[1], first.model, first.state, SUITE)])[0]
        single = made.edit([EditJob(case.case_id, 2, case.steps[1], suite=SUITE)])[0]
        texts = {"1": text_of(first), "12": text_of(later), "2": text_of(single)}
        assert len(set(texts.values())) == 3
        for probe, score, other in zip(case.probes, scores.probes, alone.probes, strict=True):
            for prompt, got, one in zip(probe.prompts, score.probabilities, other.probabilities, strict=True):
                want = naive.mean_log_prob(host.model, host.tokenizer, texts[probe.state] + prompt, probe.target)
                assert abs(math.log(got) - want) < 50 * tolerance(forward)
                assert abs(math.log(one) - want) < 50 * tolerance(forward)


def test_demonstrations_are_of_other_cases_and_other_entities() -> None:
    ike = make_ike(make_forward("llama"), 8)
    result = ike.edit([job_of(0)])[0]
    demonstrations = text_of(result).split("\n\n")
    assert demonstrations.pop() == "New Fact: The capital of France is Rome\nPrompt: "
    # "paris" is the subject of case f and the true object of this case: f must not appear.
    assert 0 < len(demonstrations) <= 4
    assert not any(word in text for text in demonstrations for word in ("France", "paris", "Paris", "Rome", "Madrid"))
    assert all(text.startswith("New Fact: ") and text.count("\nPrompt: ") == 1 for text in demonstrations)
    assert any("4 demonstrations only, not 8" in note for note in result.notes)
    assert any("by mean_hidden_state" in note for note in result.notes)
    assert ike.describe()["retriever"]["name"] == "mean_hidden_state"
    assert ike.describe()["suites"] == {"small": 6}


def test_kinds_come_in_the_papers_ratio() -> None:
    assert shown.quotas(16) == {"copy": 2, "update": 6, "retain": 8}
    assert shown.quotas(32) == {"copy": 4, "update": 12, "retain": 16}
    many = shown.sources(program(str(i), CAPITAL, f"Land {i}", f"Town {i}", f"Old {i}") for i in range(20))
    made = shown.demonstrations(many, 16)
    assert [sum(each.kind == kind for each in made) for kind in ("copy", "update", "retain")] == [2, 6, 8]
    texts = {each.kind: each.text for each in reversed(made)}
    assert texts["copy"].endswith("is Town 0\n\n") or "Prompt: The capital of" in texts["copy"]
    for each in made:
        fact, asked = each.text.removeprefix("New Fact: ").removesuffix("\n\n").split("\nPrompt: ")
        number = fact.rsplit(" ", 1)[1]
        if each.kind == "copy":
            assert asked == fact
        elif each.kind == "update":
            assert asked == f"When asked about Land {number}, we say Town {number}"
        else:
            other = asked.rsplit(" ", 1)[1]
            assert other != number
            assert asked == f"The capital of Land {other} is Old {other}"


def test_sources_without_paraphrase_or_true_object_give_what_they_can() -> None:
    bare = [Program(str(i), ((EditRequest(CAPITAL, f"Land {i}", f"Town {i}"),),), (), ()) for i in range(20)]
    made = shown.demonstrations(shown.sources(bare), 16)
    assert [each.kind for each in made] == ["copy", "copy"]
    assert shown.demonstrations([], 16) == []


def test_facts_in_the_prefix_are_joined_as_their_suite_says() -> None:
    """Copied, asked in another way, or left alone: no demonstration has a space where the suite has none."""
    facts = [
        ("日本", "罗马", "东京"),
        ("法国", "柏林", "巴黎"),
        ("意大利", "伦敦", "罗马"),
        ("俄罗斯", "开罗", "莫斯科"),
    ]
    programs = []
    for number, (subject, new, true) in enumerate(facts):
        request = EditRequest("众所周知，{}的首都是", subject, new, true, "P36", joiner="")
        probe = Probe("old", "0", (request.question, f"{subject}的首都叫"), new, joiner="")
        programs.append(Program(f"c{number}", ((request,),), (State("0", ()),), (probe,)))
    found = shown.demonstrations(shown.sources(programs), 4)
    assert {each.kind for each in found} >= {"update", "retain"}
    assert not [each.text for each in found if " " in each.text.replace("New Fact: ", "").replace("Prompt: ", "")]
    job = EditJob("c0", 1, programs[0].steps[0], (), None, None)
    (result,) = make_ice(make_forward("gpt2")).edit([job])
    assert text_of(result) == "New Fact: 众所周知，日本的首都是罗马\nPrompt: "


def test_labels_are_compared_without_case_and_spaces() -> None:
    one = shown.entities([EditRequest("{}", " New  York", "Ｒome", None)])
    assert one == {"new york", "rome"}


@pytest.mark.parametrize("name", FAMILIES)
def test_retrieval_is_the_cosine_of_mean_hidden_states(name: str) -> None:
    forward = make_forward(name)
    host = forward.host
    # Where hidden states were asked for, transformers leaves its hooks.
    own, _ = tiny_model(name, dtype=torch.float64)
    texts = [f"{fact[1].replace('{}', fact[2])} {fact[3]}" for fact in FACTS]
    retriever = MeanHiddenState(forward, max_tokens=30)
    got = retriever.vectors(texts)
    for text, vector in zip(texts, got, strict=True):
        ids = torch.tensor([naive.prompt_ids(host.tokenizer, text)])
        with torch.no_grad():
            states = own(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
        plain = states[retriever.blocks][0, 1:].double().mean(0)
        torch.testing.assert_close(vector, plain / plain.norm(), rtol=1e-5, atol=1e-5)
    order = ranking(got[2:3], got)
    assert order[0] == 2
    similarity = (got @ got[2]).tolist()
    assert sorted(range(6), key=lambda i: -round(similarity[i], 5)) == order
    assert ranking(got[[2, 4]], got)[:2] == [2, 4]


def test_without_a_suite_it_is_ice_and_says_so() -> None:
    forward = make_forward("gpt2")
    result = make_ike(forward).edit([job_of(0, None)])[0]
    assert text_of(result) == text_of(make_ice(forward).edit([job_of(0, None)])[0])
    assert "no demonstrations" in result.notes[0]


def test_what_does_not_fit_the_window_is_left_out_or_refused() -> None:
    forward = make_forward("gpt2")
    ike = make_ike(forward, 4)
    whole = ike.edit([job_of(1)])[0]
    size = len(forward.host.encoder.prompt(text_of(whole)))
    ike._window.size = size + 20
    fewer = ike.edit([job_of(1)])[0]
    assert text_of(whole).endswith(text_of(fewer).rsplit("\n\n", 1)[1])
    assert text_of(whole).startswith(text_of(fewer).rsplit("\n\n", 1)[0])
    assert len(text_of(fewer)) < len(text_of(whole))
    assert any("left out: the context window has" in note for note in fewer.notes)
    ike._window.size = 30
    assert "context window has 30" in (ike.edit([job_of(1)])[0].error or "")


def test_an_edited_model_object_is_refused(tmp_path: Path) -> None:
    session = EngineSession.open(EngineSettings(str(save_tiny(tmp_path / "tiny", "gpt2")), device="cpu"))
    assert session.run("ice", PROGRAMS[:1])[0].error is None
    with (
        pytest.raises(CaseError, match="text before the prompt") as raised,
        session.edited("ice", PROGRAMS[0], "1"),
    ):
        pass
    assert raised.value.where == "a"
    with (
        pytest.raises(CaseError, match="'ike' edits by text"),
        session.edited("ike", PROGRAMS[0], "12", SUITE),
    ):
        pass
