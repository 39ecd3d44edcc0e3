"""Part ``editing`` on a tiny model: turns, ratios, tables; and the released code where there is none."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from benchmark_samples import make_program, open_tiny
from benchmarks import editing, other_pitfalls, released
from benchmarks.answers import differences
from benchmarks.isolated import Counted, Order
from benchmarks.part import Asked
from benchmarks.programs import programs_of, reverse_programs
from benchmarks.reference.runner import EDITORS, ReferenceRunner
from benchmarks.ways import AUTOMATIC, FOUR, REFERENCE, ROUNDED, SINGLE, Ways

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import Probe
from pytest_editpitfalls.program import CaseScores, ProbeScore


def test_the_ways_answer_the_same_cases_in_their_order(tmp_path: Path) -> None:
    session = open_tiny(tmp_path, "llama")
    programs = [make_program(str(index)) for index in range(6)]
    timed = editing.in_turns(Ways(session, "rome", rounded=session), programs, single=2, four=4)
    for way, cases in {REFERENCE: 6, AUTOMATIC: 6, ROUNDED: 6, SINGLE: 2, FOUR: 4}.items():
        assert [answer.case_id for answer in timed[way].answers] == list("012345")[:cases]
        assert timed[way].cases == cases
    assert [len(timed[way].seconds) for way in (AUTOMATIC, ROUNDED, FOUR)] == [1, 1, 1]  # one batch, per case
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
        scoring = None if order.way == REFERENCE else order.cases * 10**9
        return Counted(order.cases, int(order.cases * operations[order.way]), scoring, 1500.0, 1200.0)

    monkeypatch.setattr(editing, "count_in_a_process", counted)
    found = editing.measure(Asked(quick=True, device="cpu", model="tiny"))
    expected = {f"{editor}.{name}" for editor in EDITORS for name in ("flops", "wall", "wall_batch1", "scoring_share")}
    assert set(found.ratios) == expected - {"memit.flops"}  # not counted when it is to be quick
    assert found.ratios["rome.flops"] == 4.0
    ours = found.figures["editors"]["rome"]["ways"][AUTOMATIC]
    assert ours["gflop_per_second"] == pytest.approx(2 / ours["seconds_per_case"], rel=0.05, abs=0.1)
    assert found.figures["editors"]["rome"]["difference_of_log_p"][AUTOMATIC]["max"] < 1e-2
    least = 1 / found.figures["matrix_gflop_per_second"]["square_float32"]
    share = least / (least + ours["editing_seconds_per_case"])
    assert f"Scoring has 1 GFLOP a case: {least:.2f} s at the matrix rate" in found.markdown
    assert f"would be {100 * share:.0f} % of a case" in found.markdown
    assert found.markdown.startswith("## Editing and scoring\n")
    for words in ("### rome", "### memit", "| reference |", "**4.0 x** the floating-point operations"):
        assert words in found.markdown


def test_all_ways_and_the_cases_of_other_pitfalls_are_in_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_tiny(tmp_path, "gpt2", "float32")
    opened = list[str]()

    def open_it(_model: str, _device: str, dtype: str = "float32") -> object:
        opened.append(dtype)
        return session

    monkeypatch.setattr(editing, "open_session", open_it)
    monkeypatch.setattr(editing, "reverse_programs", lambda count: [make_program(str(i)) for i in range(count)])
    monkeypatch.setattr(
        other_pitfalls, "programs_of", lambda suite, count: [make_program(f"{suite}-{i}") for i in range(count)]
    )
    monkeypatch.setattr(
        editing, "count_in_a_process", lambda order, _: Counted(order.cases, 10**9, None, 1500.0, 1200.0)
    )
    amount = replace(editing.FULL["rome"], cases=4, single=1, four=4, others=("composite", "ripple"))
    monkeypatch.setattr(editing, "FULL", {"rome": amount, "memit": replace(amount, others=())})
    found = editing.measure(Asked(quick=False, device="cpu", model="tiny"))
    assert opened == ["float32", "bf16-weights"]
    for name in ("wall", "wall_batch1", "wall_batch4", "wall_bf16_weights", "scoring_share", "flops"):
        assert found.ratios[f"rome.{name}"] > 0
    others = found.figures["editors"]["rome"]["other_suites"]
    assert {suite: each["cases"] for suite, each in others.items()} == {"composite": 8, "ripple": 8}
    assert all(each["difference_of_log_p"] < 1e-2 < each["ratio"] for each in others.values())
    for words in ("| ours, batch 4 |", "| the same, `bf16-weights` |", "| composite |", "at batch 4 "):
        assert words in found.markdown


def test_where_bf16_weights_cannot_be_the_table_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UsageError("this CPU has no products in bfloat16", where="--pitfalls-dtype", fix="another")

    monkeypatch.setattr(editing, "open_session", refuse)
    session, why = editing._rounded(Asked(quick=False, device="cpu", model="tiny"))
    assert session is None
    assert "this CPU has no products in bfloat16" in why


@pytest.mark.parametrize("suite", other_pitfalls.SUITES)
def test_the_reference_can_answer_the_cases_of_other_pitfalls(suite: str) -> None:
    for program in programs_of(suite, 8):
        assert not program.held
        assert all(isinstance(probe, Probe) for probe in program.probes)


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
