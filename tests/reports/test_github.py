"""The job's summary and annotations."""

from __future__ import annotations

from pathlib import Path

from report_samples import HOSTILE, results

from pytest_editpitfalls.reports.github import MAX_SUMMARY, gate_annotations, write_step_summary
from pytest_editpitfalls.results.comparison_records import RelativeGateRecord

ACTIONS = {"GITHUB_ACTIONS": "true"}


def test_the_summary_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    environ = {"GITHUB_STEP_SUMMARY": str(path)}
    path.write_text("earlier\n")
    assert write_step_summary("# é\n", environ) is None
    assert write_step_summary("again", environ) is None
    assert path.read_text(encoding="utf-8") == "earlier\n# é\n\nagain\n\n"


def test_without_a_summary_nothing_happens(tmp_path: Path) -> None:
    assert write_step_summary("x", {}) is None
    assert write_step_summary("x", {"GITHUB_STEP_SUMMARY": ""}) is None


def test_a_summary_that_would_be_too_large_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_bytes(b"x" * (MAX_SUMMARY - 3))
    remark = write_step_summary("12345", {"GITHUB_STEP_SUMMARY": str(path)})
    assert remark is not None
    assert "would be added" in remark
    assert path.stat().st_size == MAX_SUMMARY - 3


def test_a_summary_that_cannot_be_written_is_a_remark(tmp_path: Path) -> None:
    remark = write_step_summary("x", {"GITHUB_STEP_SUMMARY": str(tmp_path)})
    assert remark is not None
    assert remark.startswith("no report in the job's summary: cannot write")


def test_annotations_are_for_failed_gates() -> None:
    run = results(6, suites=["reverse"], editors=["rome"], gates=["reverse.cs_exp >= 0.99", "reverse.es >= 0"])
    assert gate_annotations(run, {}) == []
    (line,) = gate_annotations(run, ACTIONS)
    assert line.startswith("::error title=Gate failed%3A reverse.cs_exp >= 0.99::rome on gpt2-xl: cs_exp = 0.")
    run.relative_gates = [
        RelativeGateRecord(gate="*.cs_exp:0", suite="reverse", editor="rome", model="m", metric="cs_exp",
                           verdict=verdict, passed=passed, reason="it dropped")
        for verdict, passed in (("fail", False), ("inconclusive", None), ("pass", True))
    ]  # fmt: skip
    assert gate_annotations(run, ACTIONS)[1:] == [
        "::error title=Gate failed%3A *.cs_exp%3A0::rome on m: reverse: it dropped"
    ]


def test_there_are_at_most_ten_annotations() -> None:
    editors = [f"e{place}" for place in range(14)]
    lines = gate_annotations(results(3, suites=["reverse"], editors=editors, gates=["reverse.cm >= 0.99"]), ACTIONS)
    assert len(lines) == 10
    assert lines[-1].endswith("::5 more reasons: see the summary")


def test_hostile_labels_are_one_command_a_line() -> None:
    run = results(3, suites=["reverse"], editors=[HOSTILE], models=[HOSTILE], gates=["reverse.cm >= 0.99"])
    (line,) = gate_annotations(run, ACTIONS)
    assert "\n" not in line
    assert "\x1b" not in line
    assert "%250A" in line  # what stood there was %0A, and shall be shown
    assert line.split("::")[1].count(":") == 0
