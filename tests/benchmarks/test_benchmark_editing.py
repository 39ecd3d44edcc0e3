"""Part ``editing`` on a tiny model: turns, ratios, tables; and the released code where there is none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from benchmark_samples import make_program, open_tiny
from benchmarks import editing, released
from benchmarks.answers import differences
from benchmarks.isolated import Counted, Order
from benchmarks.part import Asked
from benchmarks.programs import reverse_programs
from benchmarks.reference.runner import EDITORS, ReferenceRunner
from benchmarks.ways import AUTOMATIC, REFERENCE, SINGLE, Ways

from pytest_editpitfalls.program import CaseScores, ProbeScore


def test_the_ways_answer_the_same_cases_in_their_order(tmp_path: Path) -> None:
    session = open_tiny(tmp_path, "llama")
    programs = [make_program(str(index)) for index in range(3)]
    timed = editing.in_turns(Ways(session, "rome"), programs, single=2)
    assert [answer.case_id for answer in timed[REFERENCE].answers] == ["0", "1", "2"]
    assert [answer.case_id for answer in timed[AUTOMATIC].answers] == ["0", "1", "2"]
    assert [answer.case_id for answer in timed[SINGLE].answers] == ["0", "1"]
    assert {way: each.cases for way, each in timed.items()} == {REFERENCE: 3, SINGLE: 2, AUTOMATIC: 3}
    assert len(timed[AUTOMATIC].seconds) == 1  # one batch, per case
    for each in timed.values():
        assert 0 < each.editing + each.scoring <= each.cases * max(each.seconds)
    assert differences(timed[REFERENCE].answers, timed[AUTOMATIC].answers)["max"] < 1e-7


def test_the_part_measures_and_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_tiny(tmp_path, "gpt2", "float32")
    monkeypatch.setattr(editing, "open_session", lambda _model, _device: session)
    monkeypatch.setattr(editing, "reverse_programs", lambda count: [make_program(str(i)) for i in range(count)])
    operations = {REFERENCE: 8e9, AUTOMATIC: 2e9}

    def counted(order: Order, threads: int | None = None) -> Counted:
        assert threads == 1
        return Counted(order.cases, int(order.cases * operations[order.way]), 1500.0, 1200.0)

    monkeypatch.setattr(editing, "count_in_a_process", counted)
    found = editing.measure(Asked(quick=True, device="cpu", model="tiny"))
    expected = {f"{editor}.{name}" for editor in EDITORS for name in ("flops", "wall", "wall_batch1", "scoring_share")}
    assert set(found.ratios) == expected - {"memit.flops"}  # not counted when it is to be quick
    assert found.ratios["rome.flops"] == 4.0
    ours = found.figures["editors"]["rome"]["ways"][AUTOMATIC]
    assert ours["gflop_per_second"] == pytest.approx(2 / ours["seconds_per_case"], rel=0.05, abs=0.1)
    assert found.figures["editors"]["rome"]["difference_of_log_p"][AUTOMATIC]["max"] < 1e-2
    assert found.markdown.startswith("## Editing and scoring\n")
    for words in ("### rome", "### memit", "| reference |", "**4.0 x** the floating-point operations"):
        assert words in found.markdown


def test_programs_are_spread_over_the_suite_and_never_alike() -> None:
    few, many = reverse_programs(4), reverse_programs(200)
    assert len({program.case_id.rpartition("-")[0] for program in few}) > 1
    assert len({program.steps for program in many}) == len(many) == 200
    for program in many:
        (first,), (second,) = program.steps
        assert first.target_new.lower() == second.subject.lower()  # a reverse case; "Dong" begins a sentence
        assert second.target_new not in (first.target_new, second.target_true)
        assert program.held == ()


def test_a_directory_that_is_no_checkout_is_said_in_one_line(tmp_path: Path) -> None:
    asked = Asked(quick=True, device="cpu", model="tiny", against=tmp_path)
    found = released.measure(asked, [make_program()])
    assert found == {"error": f"{tmp_path} is no checkout of the released code: it has no memit/rome/rome_main.py"}


def test_a_checkout_that_does_not_run_says_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memit" / "rome").mkdir(parents=True)
    (tmp_path / released.NEEDED).touch()
    done = subprocess.CompletedProcess([], 1, stdout="", stderr="Traceback ...\nImportError: no yaml\n")
    monkeypatch.setattr(released.subprocess, "run", lambda *_, **__: done)
    asked = Asked(quick=True, device="cpu", model="tiny", against=tmp_path)
    found = released.measure(asked, [make_program()])
    assert found == {"error": f"the checkout {tmp_path} does not run here: ImportError: no yaml"}


def test_the_released_codes_figures() -> None:
    mine = CaseScores("a", (ProbeScore("old", "1", (0.5, 0.25)),), seconds=3.0, timings={"edit": 2.0, "score": 1.0})
    theirs = CaseScores("a", (ProbeScore("old", "1", (0.5, 0.5)),), seconds=2.0, timings={"edit": 1.0, "score": 1.0})
    found = released.figures([(mine, theirs)])
    assert found["seconds_per_case"] == 3.0
    assert found["reference_seconds_per_case"] == 2.0
    assert found["difference_of_log_p"]["values"] == 2
    assert found["difference_of_log_p"]["max"] == pytest.approx(0.6931, abs=1e-4)


def test_one_program_at_a_time_is_what_today_does(tmp_path: Path) -> None:
    session = open_tiny(tmp_path, "gpt2")
    way = ReferenceRunner(session, "rome")
    alone = [way.run(make_program()) for _ in range(2)]
    assert differences(alone[:1], alone[1:])["max"] == 0.0
