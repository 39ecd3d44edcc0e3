"""A program of many edits, of which only some states are asked: each state is made once, on the one before it."""

from __future__ import annotations

import pytest
import torch

from pytest_editpitfalls.engine.editing.interface import EditJob
from pytest_editpitfalls.engine.runner import edited_model_of, run_batch
from pytest_editpitfalls.engine.scoring import Scorer
from pytest_editpitfalls.pitfalls import Program
from pytest_editpitfalls.pitfalls.round_trips import STATES
from pytest_editpitfalls.program import Probe, State
from tests.engine.conftest import make_forward
from tests.engine.test_in_place import Bench
from tests.engine.test_runner import FakeEditor, program


def trips(number: int) -> Program:
    """Sixteen edits in turn, asked after 1, 2, 4 and 8 pairs of them."""
    short = program(number)
    states = tuple(State(name, steps) for name, steps in STATES.items())
    probes = tuple(Probe("fact", name, ("The capital of France is", "It is said"), " Rome") for name in STATES)
    return Program(f"P{number:04}", short.steps * 8, states, probes)


def test_each_state_is_made_once_and_on_the_one_before() -> None:
    editor = FakeEditor(forward := make_forward("gpt2"))
    answers = run_batch(editor, Scorer(forward, max_tokens=200), forward.host.encoder, [trips(0), trips(1)])
    assert [answer.error for answer in answers] == [None, None]
    # sixteen turns of both cases together, each on all edits before it
    assert [[(job.case_id, job.step, len(job.model)) for job in jobs] for jobs in editor.calls] == [
        [(f"P{number:04}", step, step - 1) for number in (0, 1)] for step in range(1, 17)
    ]
    for number, answer in enumerate(answers):
        for probe in answer.probes:
            edits = edited_model_of(FakeEditor(forward), trips(number), probe.state)
            assert sum(edit.u.shape[1] for edit in edits) == len(STATES[probe.state])
        values = {probe.state: probe.probabilities for probe in answer.probes}
        assert len(set(values.values())) == len(STATES), "every state answers otherwise"
        (alone,) = run_batch(
            FakeEditor(forward), Scorer(forward, max_tokens=200), forward.host.encoder, [trips(number)]
        )
        for one, other in zip(answer.probes, alone.probes, strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, rel=1e-8)


def test_an_editor_in_place_goes_the_way_once() -> None:
    """The model that is lent is edited sixteen times for a case, and is as it was afterwards."""
    bench = Bench("llama")
    jobs: list[int] = []

    def half(model: torch.nn.Module, tokenizer: object, requests: object, **values: object) -> None:
        jobs.append(len(jobs))
        with torch.no_grad():
            model.get_submodule("model.layers.1.mlp.down_proj").weight.mul_(0.9)

    editor = bench.editor(half)
    editor.prepare()
    forward = bench.forward
    (answer,) = run_batch(editor, Scorer(forward, max_tokens=200), bench.host.encoder, [trips(0)])
    assert answer.error is None
    assert len(jobs) == 16
    assert all(torch.equal(tensor, bench.before[name]) for name, tensor in bench.model.state_dict().items())


def test_an_edit_that_fails_on_the_way_fails_the_case_alone() -> None:
    def upset(jobs: list[EditJob]) -> None:
        if any((job.case_id, job.step) == ("P0000", 9) for job in jobs):
            raise RuntimeError("singular")

    editor = FakeEditor(forward := make_forward("gpt2"), upset)
    lost, kept = run_batch(editor, Scorer(forward, max_tokens=200), forward.host.encoder, [trips(0), trips(1)])
    assert lost.error is not None
    assert "edit 9" in lost.error
    assert kept.error is None
    assert len(kept.probes) == len(STATES)
