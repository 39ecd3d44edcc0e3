"""Held answers stay on the disk for the next run on the same model."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_editpitfalls.engine.held import HeldAnswers, HeldMemory, memory
from pytest_editpitfalls.program import HeldQuestion
from tests.engine.conftest import make_forward

RIVALS = ("Rome", "Paris", "the queen", "Spain")
QUESTIONS = [HeldQuestion("edit1", ("The capital of France is",), label, RIVALS) for label in (*RIVALS, " ")]


def test_a_later_run_asks_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, path = make_forward("llama"), tmp_path / "cache" / "held.jsonl"

    def answers(model: str = "a") -> HeldAnswers:
        return HeldAnswers(forward, forward.host.encoder, max_tokens=200, memory=HeldMemory(path, model))

    plain = HeldAnswers(forward, forward.host.encoder, max_tokens=200).holds(QUESTIONS)
    assert answers().holds(QUESTIONS) == plain
    assert {True, False, None} == set(plain)
    assert len(path.read_text().split()) == 2 * len(QUESTIONS)  # name and answer
    asked: list[int] = []
    ask = HeldAnswers._answer
    monkeypatch.setattr(
        HeldAnswers, "_answer", lambda self, new, *more: (asked.append(len(new)), ask(self, new, *more))[1]
    )
    renamed = [HeldQuestion("tied", each.prompts, each.object, RIVALS, each.scores) for each in QUESTIONS]
    assert answers().holds(renamed) == plain
    assert answers("another model").holds(QUESTIONS[:2]) == plain[:2]
    other_rivals = HeldQuestion("edit1", QUESTIONS[0].prompts, "Rome", RIVALS[:2], ("mean",))
    answers().holds([other_rivals, QUESTIONS[1]])
    assert asked == [0, 2, 1]


def test_what_is_damaged_is_asked_again_and_what_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "held.jsonl"
    memory = HeldMemory(path, "a")
    memory.add({("one",): True, ("two",): None})
    with path.open("a") as file:
        file.write('["cut of\n[1, 2]\n{}\n["x", "yes"]\n')
    memory.add({("three",): False})
    found = HeldMemory(path, "a").get([("one",), ("two",), ("three",), ("four",)])
    assert found == {("one",): True, ("two",): None, ("three",): False}
    (tmp_path / "file").write_text("")
    blocked = HeldMemory(tmp_path / "file" / "held.jsonl", "a")
    blocked.add({("one",): True})
    assert blocked.get([("one",)]) == {}


def test_answers_of_other_code_or_libraries_are_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    HeldMemory(tmp_path / "held.jsonl", "a").add({("one",): True})
    assert HeldMemory(tmp_path / "held.jsonl", "a").get([("one",)])
    monkeypatch.setattr(memory, "_answered_by", lambda: ["2.99", "6.0", "other code"])
    assert not HeldMemory(tmp_path / "held.jsonl", "a").get([("one",)])


def test_nothing_is_kept_once_somebody_elses_code_has_had_the_model(tmp_path: Path) -> None:
    """It may have written into the weights, which is noticed behind the answers."""
    forward, path = make_forward("llama"), tmp_path / "held.jsonl"
    answers = HeldAnswers(forward, forward.host.encoder, max_tokens=200, memory=HeldMemory(path, "a"))
    answers.is_trusted = False
    assert len(answers.holds(QUESTIONS)) == len(QUESTIONS)
    assert not path.exists()
