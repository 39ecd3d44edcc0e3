"""Figures of an editor that hardly edits are marked everywhere, and change no verdict."""

from __future__ import annotations

import pytest
from plugin_helpers import case_ids

R12 = ("--pitfalls-suite=reverse", "--pitfalls-limit=12")
LINE = "rome on smollm2-135m edits 33.3 % of its facts in reverse (floor 70 %): its conflict figures say little"


@pytest.fixture
def untaken(project):
    """Edit 1 does not take in two of three cases; one of these fails as well."""
    cases = case_ids("reverse", 12)
    project.engine(untaken=cases[:8], lose=cases[:1])
    return cases


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["plain", "n2"])
def test_every_report_says_so(project, untaken, workers):
    document = project.results(*R12, *workers)
    project.last.assert_outcomes(passed=4, failed=8)
    (aggregate,) = document["aggregates"]
    assert aggregate["metrics"]["es"]["value"] == pytest.approx(1 / 3)
    assert aggregate["metrics"]["es"]["low"] < 1 / 3 < aggregate["metrics"]["es"]["high"]
    assert aggregate["metrics"]["ps"]["value"] == pytest.approx(1 / 3)
    assert aggregate["reliable"] is False
    assert aggregate["reliable_reason"] == LINE
    project.last.stdout.fnmatch_lines(
        [
            "edit 1 did not take (es = 0); cs_exp >= 1: failed*",
            "  after the rewrite prompt p1(*) = 0.8 is not above p1(*) = 0.9",
            "*0.9*(what edit 1 replaces)",
            "* reverse !*33.3*",
            f"! {LINE}",
            f"  reverse {untaken[0]} *",
            "    edit 1 did not take",
        ]
    )
    assert str(project.last.stdout).count("say little") == 1


def test_a_case_that_took_is_not_blamed(project):
    project.engine(lose=case_ids("reverse", 1))
    result = project.run("--pitfalls-suite=reverse", "--pitfalls-limit=1")
    result.assert_outcomes(failed=1)
    assert "did not take" not in str(result.stdout)
    assert "say little" not in str(result.stdout)


def test_gates_decide_as_before_and_bear_the_mark(project, untaken):
    document = project.results(project.whole("reverse", 12), "--pitfalls-gate=reverse.cs_exp >= 0.6")
    assert project.last.ret == pytest.ExitCode.OK
    project.last.stdout.fnmatch_lines(["gate reverse.cs_exp >= 0.6 (*): passed, *! unreliable: too few edits take"])
    assert document["gates"][0]["passed"] is True
    assert document["gates"][0]["reliable"] is False


def test_the_floor_can_be_set(project, untaken):
    project.pytester.makeini("[pytest]\npitfalls_success_floor = 0.05\n")
    document = project.results(*R12)
    assert document["aggregates"][0]["reliable"] is True
    assert document["run"]["success_floor"] == 0.05
    assert "say little" not in str(project.last.stdout)
    document = project.results(*R12, "--pitfalls-success-floor=0.67")
    assert document["aggregates"][0]["reliable"] is False
    project.last.stdout.fnmatch_lines(["*in reverse (floor 67 %)*"])


def test_too_few_cases_tell_nothing_and_that_is_said(project):
    project.engine(untaken=case_ids("reverse", 1))
    document = project.results("--pitfalls-suite=reverse", "--pitfalls-limit=2")
    assert document["aggregates"][0]["reliable"] is None
    line = "rome on smollm2-135m edits 50 % of its facts in reverse, too few cases to tell whether *floor of 70 %*"
    project.last.stdout.fnmatch_lines([f"! {line}"])
    project.engine()
    document = project.results("--pitfalls-suite=reverse", "--pitfalls-limit=2")
    assert document["aggregates"][0]["reliable"] is None
    project.last.stdout.no_fnmatch_line("*too few cases*")  # nothing speaks against it


def test_quiet_says_it_too(project, untaken):
    result = project.run("-q", *R12)
    result.stdout.fnmatch_lines(["reverse ! rome smollm2-135m: n 12, ES 33.3, *", f"! {LINE}"])


def test_kinds_are_told_apart_and_suites_joined(project):
    cases = [name for suite in ("reverse", "coverage", "easy") for name in case_ids(suite, 4)]
    project.engine(untaken=cases)
    result = project.run(
        *(f"--pitfalls-suite={name}" for name in ("reverse", "coverage", "easy")), "--pitfalls-limit=4"
    )
    result.stdout.fnmatch_lines(
        [
            "! rome on smollm2-135m edits 0 % of its facts in reverse, 0 % in coverage (floor 70 %): its conflict *",
            "! rome on smollm2-135m edits 0 % of its facts in easy (floor 70 %): its distortion figures say little",
        ]
    )


def test_edit_success_can_be_gated(project, untaken):
    result = project.run(project.whole("reverse", 12), "--pitfalls-gate=reverse.es >= 0.5")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["gate reverse.es >= 0.5 (*): FAILED, es = 0.3333*"])
