"""Whatever is edited, in whatever order and batches: the base weights keep their bits, and cases do not touch."""

from __future__ import annotations

import copy
import hashlib
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import save_tiny
from torch import nn

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import CaseError
from pytest_editpitfalls.pitfalls import Probe, Program
from pytest_editpitfalls.program import CaseScores, EditRequest, HeldQuestion, State, SuitePrograms

torch.set_num_threads(1)

LOCATED = {
    "v_num_grad_steps": "3",
    "v_lr": "0.4",
    "context_template_length_params": "[[6, 2]]",
    "mom2_tokens": "1400",
}
QUICK = {
    "rome": {"layers": "[1]", **LOCATED},
    "memit": {"layers": "[0, 2]", "mom2_update_weight": "20", **LOCATED},
    "ft": {"layers": "[1]", "num_steps": "3"},
    "lora": {"num_steps": "3", "rank": "2"},
    "grace": {"n_iter": "4", "eps": "3"},
    "wise": {"n_iter": "3"},
    "ike": {"k": "2"},
}
STATES = (State("0", ()), State("1", (0,)), State("12", (0, 1)), State("2", (1,)))
FACTS = [
    ("The capital of {} is", "France", "Rome", "Madrid"),
    ("The capital of {} is", "the old kingdom of Japan", "Paris", "London"),
    ("{} speaks", "Danielle Darrieux", "Russian", "Latin"),
    ("The mother of {}, according to the latest report, is", "the king", "the queen of Spain", "Rome"),
    ("{} was founded in", "Berlin", "Tokyo", "Brazil, by two brothers"),
    ("According to the news, {} lives in", "the author of the book", "England", "Italy"),
]


def program(number: int) -> Program:
    prompt, subject, first, second = FACTS[number % len(FACTS)]
    name = f"P{number}"
    steps = ((EditRequest(prompt, subject, first),), (EditRequest(prompt, subject, second),))
    if number == BROKEN:  # its second edit fails in editors that look for the subject
        steps = (steps[0], (EditRequest("no slot", subject, second),))
    if number == SKIPPED:
        steps = (steps[0], (EditRequest(prompt, subject, " "),))
    asked = (prompt.replace("{}", subject), f"It is said that {subject} is")
    probes = tuple(
        Probe(fact, state.name, asked[: 1 + (number + len(state.name)) % 2], label)
        for state in STATES[: 2 + number % 3]
        for fact, label in (("old", first), ("new", second))
    )
    return Program(name, steps, STATES, probes, (HeldQuestion("edit1", asked[0], first, (second,)),))


BROKEN, SKIPPED = 6, 7
PROGRAMS = [program(number) for number in range(8)]
SUITE = SuitePrograms("suite", lambda: PROGRAMS)


# In-place editors, decent and not


def _weight(model: Any, layer: int = 2) -> nn.Parameter:
    found: nn.Parameter = model.model.layers[layer].mlp.down_proj.weight
    return found


def scales(model: Any, _tokenizer: Any, requests: Any) -> None:
    with torch.no_grad():
        _weight(model).mul_(1 + len(requests[0]["target_new"]) / 50)
        model.model.norm.weight[1] += 0.1


def trains(model: Any, tokenizer: Any, requests: Any) -> Any:
    text = requests[0]["prompt"].replace("{}", requests[0]["subject"]) + " " + requests[0]["target_new"]
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    steps = torch.optim.SGD(model.parameters(), lr=0.05)
    model(input_ids=ids, labels=ids).loss.backward()
    steps.step()
    return model


def copies(model: Any, _tokenizer: Any, _requests: Any) -> Any:
    scales(model, _tokenizer, _requests)  # and leaves the original changed, too
    return copy.deepcopy(model)


def swaps(model: Any, _tokenizer: Any, _requests: Any) -> None:
    model.model.layers[1].mlp.down_proj.weight = nn.Parameter(_weight(model, 1).detach() * 1.3)
    _weight(model).data = _weight(model).detach() * 0.9


def raises(model: Any, tokenizer: Any, requests: Any) -> None:
    trains(model, tokenizer, requests)
    model.train()
    raise KeyError("subject")


def litters(model: Any, _tokenizer: Any, _requests: Any) -> None:
    scales(model, _tokenizer, _requests)
    model.model.layers[0].register_forward_hook(lambda *_: None)
    model.model.layers[3].mlp = nn.Identity()
    model.model.layers[1].register_buffer("left", torch.ones(2))
    model.config.use_cache = False


def spoils(model: Any, _tokenizer: Any, _requests: Any) -> None:
    with torch.no_grad():
        _weight(model)[0] = math.nan
        _weight(model, 0).zero_()


def unties(model: Any, _tokenizer: Any, _requests: Any) -> None:
    model.lm_head = nn.Linear(*reversed(model.lm_head.weight.shape), bias=False, dtype=torch.float64)
    model.model.embed_tokens.weight.data.add_(1)


IN_PLACE = {f.__name__: f for f in (scales, trains, copies, swaps, raises, litters, spoils, unties)}
FAIR = ("scales", "trains", "copies", "swaps")


class Faulty:
    """A batched editor that breaks in the middle of its work, with a hook of its own on the model."""

    def __init__(self, _hyperparameters: Any, resources: Any) -> None:
        self.host = resources.host

    def prepare(self, progress: Any = None) -> None:
        pass

    def edit(self, jobs: Any, progress: Any = None) -> Any:
        with torch.no_grad():
            self.host.model(input_ids=torch.tensor([[1, 2, 3]]))
        raise RuntimeError("in the middle")


# The session


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineSession]:
    root = tmp_path_factory.mktemp("properties")
    checkpoint = save_tiny(root / "tiny", "llama", tie=True, hidden=16)
    for name, function in {**IN_PLACE, "faulty": Faulty}.items():
        EDITORS.add(name, function, origin="a test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITPITFALLS_CACHE", str(root / "cache"))
        yield EngineSession.open(EngineSettings(str(checkpoint), device="cpu", dtype="float64", overrides=QUICK))
    EDITORS.forget_added()


def state_of(session: EngineSession) -> tuple[str, list[str]]:
    """The weights' bits, and everything else of the model that an edit could leave changed."""
    digest = hashlib.sha256()
    for name, tensor in session.model.state_dict().items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    rest = [
        f"{name} {type(module).__name__} {module.training} {sorted(vars(module))} {len(module._forward_hooks)} "
        f"{len(module._forward_pre_hooks)}"
        for name, module in session.model.named_modules()
    ]
    rest += [f"{name} {p.requires_grad} {p.grad is None}" for name, p in session.model.named_parameters()]
    rest += [str(session.model.config.use_cache), str(torch.is_grad_enabled()), str(len(session.tokenizer))]
    rest.append(str(session.model.lm_head.weight is session.model.model.embed_tokens.weight))
    return digest.hexdigest(), rest


EDITORS_HERE = ("rome", "memit", "ft", "lora", "grace", "wise", "ike", *IN_PLACE, "faulty")
numbers = st.integers(0, len(PROGRAMS) - 1)
runs = st.tuples(st.just("run"), st.sampled_from(EDITORS_HERE), st.lists(numbers, max_size=3))
contexts = st.tuples(
    st.sampled_from(["edited", "edited and raised"]),
    st.sampled_from(EDITORS_HERE),
    st.tuples(numbers, st.sampled_from([state.name for state in STATES])),
)


@pytest.fixture(scope="module")
def untouched(session: EngineSession) -> tuple[tuple[str, list[str]], tuple[float, ...]]:
    """The model before any edit, and a base probability."""
    return state_of(session), base_probabilities(session)


def base_probabilities(session: EngineSession) -> tuple[float, ...]:
    (answer,) = session.run("ice", [PROGRAMS[0]])
    return next(probe.probabilities for probe in answer.probes if probe.state == "0")


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(actions=st.lists(st.one_of(runs, contexts), min_size=1, max_size=5))
def test_any_sequence_of_edits_and_restores_leaves_the_base_model_alone(
    actions: list[Any], session: EngineSession, untouched: Any
) -> None:
    before, base = untouched
    for kind, editor, what in actions:
        if kind == "run":
            answers = session.run(editor, [PROGRAMS[number] for number in what], suite=SUITE)
            assert [answer.case_id for answer in answers] == [f"P{number}" for number in what]
        else:
            enter(session, kind, editor, *what)
        assert state_of(session) == before, (kind, editor, what)
    assert base_probabilities(session) == pytest.approx(base, rel=1e-12)


def enter(session: EngineSession, kind: str, editor: str, number: int, state: str) -> None:
    class Stop(Exception):
        pass

    ids = torch.tensor([session.host.encoder.prompt("The capital of France is")])
    try:
        with session.edited(editor, PROGRAMS[number], state, SUITE) as model:
            model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, do_sample=False)
            with pytest.raises(CaseError, match="still open"):
                session.run("ice", PROGRAMS[:1])
            if kind == "edited and raised":
                raise Stop
    except (Stop, CaseError):
        pass


# Batches

COMPARED = ("rome", "memit", "ft", "lora", "grace", "wise", "ike", "scales")
_alone: dict[tuple[str, int], CaseScores] = {}


def alone(session: EngineSession, editor: str, number: int) -> CaseScores:
    if (editor, number) not in _alone:
        (_alone[editor, number],) = session.run(editor, [PROGRAMS[number]], suite=SUITE)
    return _alone[editor, number]


@st.composite
def cut(draw: Any) -> list[list[int]]:
    """Some cases in some order, cut into batches."""
    chosen = draw(st.lists(numbers, min_size=2, max_size=8, unique=True))
    batches, rest = [], chosen
    while rest:
        size = draw(st.integers(1, len(rest)))
        batches.append(rest[:size])
        rest = rest[size:]
    return batches


@pytest.mark.parametrize("editor", COMPARED)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(batches=cut())
def test_a_case_s_result_does_not_depend_on_batches_and_order(
    editor: str, batches: list[list[int]], session: EngineSession
) -> None:
    for batch in batches:
        answers = session.run(editor, [PROGRAMS[number] for number in batch], suite=SUITE)
        for number, answer in zip(batch, answers, strict=True):
            expected = alone(session, editor, number)
            kept = ("case_id", "held", "skipped", "error")
            assert [getattr(answer, k) for k in kept] == [getattr(expected, k) for k in kept]
            assert list(map(_words, answer.notes)) == list(map(_words, expected.notes))
            for one, other in zip(answer.probes, expected.probes, strict=True):
                assert (one.fact, one.state) == (other.fact, other.state)
                assert one.probabilities == pytest.approx(other.probabilities, rel=1e-7)


def _words(note: str) -> str:
    """A note without its numbers, whose last digits are rounding."""
    return re.sub(r"[\d.e+-]+", "#", note)


@pytest.mark.parametrize("editor", [*COMPARED, "ice"])
def test_who_takes_something_from_the_suite_says_so(editor: str, session: EngineSession) -> None:
    """Else a stored result would be taken for that of a suite whose other cases have changed."""
    other = SuitePrograms("other", lambda: [PROGRAMS[0], PROGRAMS[4], PROGRAMS[5]])
    (one,) = session.run(editor, [PROGRAMS[0]], suite=SUITE)
    (two,) = session.run(editor, [PROGRAMS[0]], suite=other)
    assert one.error is None
    values = [[p.probabilities for p in answer.probes] for answer in (one, two)]
    assert (values[0] != values[1]) == EDITORS.get(editor).suite


def test_the_properties_are_about_something(session: EngineSession) -> None:
    """Edits change the answers, states and cases differ, and some cases are errors or skipped."""
    for editor in COMPARED:
        answers = [alone(session, editor, number) for number in range(len(PROGRAMS))]
        good = [answer for answer in answers if answer.error is None and answer.skipped is None]
        assert len(good) >= 6
        assert answers[SKIPPED].skipped
        for answer in good:
            values = {(probe.fact, probe.state): probe.probabilities[0] for probe in answer.probes}
            assert all(values[fact, "0"] != pytest.approx(values[fact, "1"], rel=1e-6) for fact in ("old", "new"))
    assert alone(session, "rome", BROKEN).error
    assert {editor for editor in IN_PLACE if alone(session, editor, 0).error is None} == set(FAIR)
