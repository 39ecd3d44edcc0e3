"""Programs that share their edits: the edits are written once, and the answers are those of each program alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pytest_editpitfalls.engine.editing.interface import EditJob
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.runner import run_batch
from pytest_editpitfalls.engine.scoring import Scorer
from pytest_editpitfalls.engine.shared_edits import SharedEdits
from pytest_editpitfalls.program import CaseScores, Program, State
from tests.engine.conftest import make_forward
from tests.engine.test_runner import FakeEditor, program

STATES = (State("0", ()), State("1", (0,)))


@pytest.fixture
def forward() -> Forward:
    return make_forward("gpt2")


def programs(*numbers: int, shared: str = "all") -> list[Program]:
    """Cases with probes of their own and the same step."""
    made = [program(number, STATES) for number in numbers]
    requests = tuple(request for each in map(program, range(4)) for request in each.steps[0])
    return [each.together(shared, requests) for each in made]


def run(editor: FakeEditor, asked: Sequence[Program], shared: SharedEdits | None = None) -> list[CaseScores]:
    forward = editor.forward
    scorer = Scorer(forward, max_tokens=200)
    return run_batch(editor, scorer, forward.host.encoder, asked, shared=shared)


def test_a_batch_is_edited_once(forward: Forward) -> None:
    editor = FakeEditor(forward)
    answers = run(editor, programs(0, 1, 2, 3))
    (jobs,) = editor.calls
    assert [(job.case_id, job.step, len(job.requests)) for job in jobs] == [("all", 1, 4)]
    assert [answer.case_id for answer in answers] == ["P0000", "P0001", "P0002", "P0003"]
    assert {answer.notes for answer in answers} == {("note 1",)}
    assert all(answer.error is None for answer in answers)


def test_answers_are_those_of_each_program_alone(forward: Forward) -> None:
    together = run(FakeEditor(forward), programs(0, 1, 2))
    for number, answer in enumerate(together):
        (alone,) = run(FakeEditor(forward), programs(number))
        own = replace(programs(number)[0], shared="")
        (unshared,) = run(FakeEditor(forward), [own])
        assert [p.probabilities for p in alone.probes] == [p.probabilities for p in unshared.probes]
        for one, other in zip(alone.probes, answer.probes, strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, rel=1e-8)
    edited = [p for p in together[0].probes if p.state == "1"]
    base = [p for p in together[0].probes if p.state == "0"]
    assert edited[0].probabilities != base[0].probabilities


def test_what_is_shared_is_kept_from_batch_to_batch(forward: Forward) -> None:
    editor, shared = FakeEditor(forward), SharedEdits()
    first = run(editor, programs(0, 1), shared)
    second = run(editor, programs(2, 3), shared)
    assert len(editor.calls) == 1
    assert all(answer.error is None and answer.probes for answer in (*first, *second))
    assert {answer.notes for answer in (*first, *second)} == {("note 1",)}
    run(editor, programs(0, shared="another list"), shared)
    assert len(editor.calls) == 2


def test_programs_that_share_nothing_are_edited_each(forward: Forward) -> None:
    editor, shared = FakeEditor(forward), SharedEdits()
    own = [program(number, STATES) for number in (0, 1)]
    for _ in range(2):
        run(editor, [*own, *programs(2, 3)], shared)
    assert [[job.case_id for job in jobs] for jobs in editor.calls] == [["P0000", "P0001", "all"], ["P0000", "P0001"]]


def test_an_edit_that_fails_fails_in_every_case_and_is_tried_again(forward: Forward) -> None:
    attempts = []

    def upset(jobs: Sequence[EditJob]) -> None:
        attempts.append(len(jobs))
        if len(attempts) == 1:
            raise RuntimeError("singular")

    editor, shared = FakeEditor(forward, upset), SharedEdits()
    failed = run(editor, programs(0, 1), shared)
    assert [answer.error for answer in failed] == ["editor 'fake', edit 1: RuntimeError: singular"] * 2
    assert [answer.error for answer in run(editor, programs(0, 1), shared)] == [None, None]
    assert attempts == [1, 1]
