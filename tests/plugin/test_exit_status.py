"""The exit status stays what it is, and its reason is visible: whatever is hidden, and whatever other plugins do."""

from __future__ import annotations

import pytest
from plugin_helpers import case_ids

GATE = "--pitfalls-gate=reverse.cs_exp >= 0.99"
ORS = "import pytest\n@pytest.hookimpl{how}\ndef pytest_sessionfinish(session, exitstatus):\n    {body}\n"
AS_SYRUPY = ORS.format(how="", body="session.exitstatus |= exitstatus | 1")
OTHERS = {
    "or": AS_SYRUPY,
    "or, last": ORS.format(how="(trylast=True)", body="session.exitstatus |= exitstatus | 1"),
    "wrapper": ORS.format(how="(wrapper=True, tryfirst=True)", body="yield\n    session.exitstatus |= 1"),
    "to 0": ORS.format(how="(trylast=True)", body="session.exitstatus = 0"),
}
HIDING = [("--no-summary",), ("-q",), ("-qq",), ("-q", "--no-summary"), ("-p", "no:terminal")]


def seen(result: pytest.RunResult) -> str:
    return "\n".join([*result.outlines, *result.errlines])


@pytest.mark.parametrize("hidden", HIDING, ids=" ".join)
def test_why_a_gate_failed_the_run(project, hidden):
    whole, cases = project.whole("reverse", 6), case_ids("reverse", 6)
    project.run(whole, "--pitfalls-save=main")
    project.engine(lose=cases[:5])
    for gate, words in (
        ((GATE,), "gate reverse.cs_exp >= 0.99 (rome on smollm2-135m): FAILED, cs_exp = 0.1667"),
        ((GATE, "-k", cases[0]), "NOT EVALUATED, 1 of 6 cases of 'reverse' ran"),
        (("--pitfalls-baseline=main", "--pitfalls-fail-on=reverse.cs_exp:2pp"), "FAILED, cs_exp 1 -> 0.167"),
        (("--pitfalls-baseline=main", "--pitfalls-fail-on=reverse.cs_exp:2pp", "-k", cases[0]), "NOT EVALUATED"),
    ):
        result = project.run(whole, *gate, *hidden)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert words in seen(result)
    project.engine(lose=cases[:1])
    strict = ("--pitfalls-baseline=main", "--pitfalls-fail-on=reverse.cs_exp:2pp", "--pitfalls-strict")
    result = project.run(whole, *strict, *hidden)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "(fails: --pitfalls-inconclusive=fail)" in seen(result)


@pytest.mark.parametrize("hidden", HIDING, ids=" ".join)
def test_why_a_usage_error_ended_the_run(project, hidden):
    """What is found when tests have run: a baseline of other weights, and an incomplete run that should be saved."""
    whole, cases = project.whole("reverse", 6), case_ids("reverse", 6)
    project.run(whole, "--pitfalls-save=main")
    project.engine(fingerprint="e" * 8)
    result = project.run(whole, "--pitfalls-baseline=main", *hidden)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "weights" in seen(result)
    project.engine(errors=cases[:1])
    result = project.run(whole, "--pitfalls-save=other", *hidden)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: --pitfalls-save: no baseline is saved from an incomplete run" in seen(result)


@pytest.mark.parametrize("other", OTHERS, ids=OTHERS.get)
def test_another_plugin_that_sets_the_exit_status(project, other):
    whole, cases = project.whole("reverse", 6), case_ids("reverse", 6)
    project.engine(extra=OTHERS[other], lose=cases[:5])
    assert project.run(whole, GATE).ret == pytest.ExitCode.TESTS_FAILED
    project.engine(extra=OTHERS[other], errors=cases[:1])
    assert project.run(whole, "--pitfalls-save=main").ret == pytest.ExitCode.USAGE_ERROR


def test_another_plugin_may_still_fail_a_good_run(project):
    project.engine(extra=AS_SYRUPY)
    whole = project.whole("reverse", 6)
    assert project.run(whole, "--pitfalls-gate=reverse.cs_exp >= 0").ret == pytest.ExitCode.TESTS_FAILED
