"""Verdicts, explanations and exit statuses."""

from __future__ import annotations

import pytest
from plugin_helpers import WITH_EACH_SUITE, case_ids, count_of

R3 = ("--pitfalls-suite=reverse", "--pitfalls-limit=3")


@pytest.fixture
def cases():
    return case_ids("reverse", 3)


def test_all_pass(project):
    result = project.run(*R3)
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=3)


def test_a_failing_case_explains_itself(project, cases):
    project.engine(lose=cases[:1], notes=("tiny divisor at edit 2: 1e-9",))
    result = project.run(*R3)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=2, failed=1)
    name = f"pitfalls/reverse.py::test_reverse[[]rome-smollm2-135m-{cases[0]}]"
    result.stdout.fnmatch_lines(
        [
            f"_* test_reverse[[]rome-smollm2-135m-{cases[0]}] _*",
            "cs_exp >= 1: failed, cs_exp = 0, missed by 1",
            f"reverse case {cases[0]} (*), rome on smollm2-135m",
            "  edit 1: The * ... * -> *",
            "  edit 2: * ... * -> *",
            "*after edit 1*after both*fact",
            "*0.8*0.1*(what edit 1 writes)",
            "*0.01*(what edit 2 writes)",
            "note: tiny divisor at edit 2: 1e-9",
            "rerun:",
            f"  pytest 'pitfalls/reverse.py::test_reverse[[]rome-smollm2-135m-{cases[0]}]' --editor=rome",
            f"FAILED {name} - PitfallFailed: cs_exp >= 1: failed*",
        ]
    )
    for trace in ("*Traceback*", "*outcome.py*", "*pitfall_outcome.check*"):
        result.stdout.no_fnmatch_line(trace)


def test_the_short_summary_has_one_line_a_case_under_ci(project, cases, monkeypatch):
    """With ``CI`` set pytest prints failure messages whole there, and the story is above already."""
    monkeypatch.setenv("CI", "true")
    project.engine(lose=cases[:1])
    result = project.run(*R3)
    lines = result.outlines
    start = next(place for place, line in enumerate(lines) if "short test summary" in line)
    assert len(lines[start + 1 :]) == 2, lines[start:]
    assert lines[start + 1].endswith(" - PitfallFailed: cs_exp >= 1: failed, cs_exp = 0, missed by 1")


def test_the_rerun_command_works(project, cases, monkeypatch):
    project.engine(lose=cases[:1])
    (project.path / "c.toml").write_text("[rome]\nv_lr = 0.1\n")
    options = [
        "--pitfalls-set=rome.v_lr=0.2",
        "--pitfalls-config=c.toml",
        "--pitfalls-seed=7",
        "--model=gpt2",
    ]
    result = project.run(*R3, "--pitfalls-device=cpu", *options)
    lines = [line.strip() for line in result.outlines]
    command = lines[lines.index("rerun:") + 1]
    import shlex

    words = shlex.split(command)
    assert words[0] == "pytest"
    again = project.pytester.runpytest_inprocess("-p", "no:cacheprovider", *words[1:])
    again.assert_outcomes(failed=1)
    assert f"  {command}" in again.outlines
    last = project.calls("open")[-1]
    assert last["open"] == "gpt2"
    assert last["seed"] == 7
    assert last["overrides"] == {"rome": {"v_lr": "0.2"}}


def test_a_broken_editor_is_an_error_of_that_item(project, cases):
    project.engine(errors=cases[1:2])
    document = project.results(*R3)
    project.last.assert_outcomes(passed=2, errors=1)
    assert project.last.ret == pytest.ExitCode.TESTS_FAILED
    project.last.stdout.fnmatch_lines([f"reverse case {cases[1]}: the solve is singular"])
    project.last.stdout.no_fnmatch_line("*Traceback*")
    project.last.stdout.no_fnmatch_line("*state.py*")
    assert [case["outcome"] for case in document["cases"]] == ["passed", "error", "passed"]
    assert document["cases"][1]["reason"] == "the solve is singular"
    assert document["aggregates"][0]["n"] == 2


def test_a_case_that_cannot_be_scored_is_skipped(project, cases):
    project.engine(skips=cases[1:2])
    document = project.results(*R3, "-rs")
    project.last.assert_outcomes(passed=2, skipped=1)
    assert project.last.ret == pytest.ExitCode.OK
    project.last.stdout.fnmatch_lines(["SKIPPED [[]1] pitfalls/reverse.py:*: the target has no tokens"])
    assert document["cases"][1]["outcome"] == "skipped"
    found = document["aggregates"][0]["metrics"]["cs_exp"]
    assert (found["value"], found["high"], found["n"], found["method"]) == (1.0, 1.0, 2, "exact")
    assert found["low"] == pytest.approx(0.025**0.5, abs=1e-4), "Clopper and Pearson's of two of two"


def test_an_unknown_metric_is_no_pass(project, cases):
    project.engine(unknown=cases[:1])
    document = project.results(*R3, "-rs")
    project.last.assert_outcomes(passed=2, skipped=1)
    project.last.stdout.fnmatch_lines(["SKIPPED [[]1] pitfalls/reverse.py:*not evaluated, cs_exp is unknown"])
    assert document["cases"][0]["outcome"] == "skipped"
    assert document["cases"][0]["metrics"]["cs_exp"] is None


def test_a_gate_decides(project, cases):
    project.engine(lose=cases[:1])
    whole = project.whole("reverse", 3)
    gate = "--pitfalls-gate=reverse.cs_exp >= 0.6"
    document = project.results(whole, gate, "-rx")
    project.last.assert_outcomes(passed=2, xfailed=1)
    assert project.last.ret == pytest.ExitCode.OK
    project.last.stdout.fnmatch_lines(
        [
            "gate reverse.cs_exp >= 0.6 (rome on smollm2-135m): passed, cs_exp = 0.6667*",
            "XFAIL *judged by gate*",
        ]
    )
    assert document["cases"][0]["outcome"] == "xfailed"
    assert document["gates"][0]["passed"] is True
    document = project.results(whole, "--pitfalls-gate=reverse.cs_exp >= 0.7")
    assert project.last.ret == pytest.ExitCode.TESTS_FAILED
    assert document["gates"][0]["passed"] is False
    assert document["run"]["exit_status"] == 1
    project.run(whole, gate, "--runxfail").assert_outcomes(passed=2, failed=1)


def test_a_gate_judges_a_whole_suite_only(project, cases):
    """Of a part it says nothing: a gate of ini waits, one that was typed for this run fails it."""
    gate = "reverse.cs_exp >= 0.1"
    result = project.run(*R3, f"--pitfalls-gate={gate}")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    said = f"gate {gate} (*): NOT EVALUATED, 3 of {count_of('reverse')} cases of 'reverse' ran*"
    result.stdout.fnmatch_lines([said])
    project.pytester.makeini(f"[pytest]\npitfalls_gates = {gate}\n")
    for options in (
        (*R3,),
        (project.whole("reverse", 3), "-k", cases[0]),
        (project.whole("reverse", 3), "-x"),
    ):
        project.engine(lose=cases[:1], errors=cases[:1] if "-x" in options else ())
        result = project.run(*options)
        result.stdout.fnmatch_lines([f"gate {gate} (*): NOT EVALUATED, * ran*"])
    project.engine()
    assert project.run(*R3).ret == pytest.ExitCode.OK


def test_gates_of_ini_and_other_suites(project, cases):
    project.engine(lose=[*cases[:1], *case_ids("coverage", 3)[:1]])
    project.pytester.makeini("[pytest]\npitfalls_gates =\n    reverse.cs_exp >= 0.6\n    easy.succ >= 0.9\n")
    result = project.run("--pitfalls-suite=reverse", "--pitfalls-suite=coverage", "--pitfalls-limit=3")
    result.assert_outcomes(passed=4, xfailed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result = project.run(*R3)
    assert result.ret == pytest.ExitCode.OK, "the gate of a suite that was not run does not fail the run"
    result.stdout.fnmatch_lines(["gate easy.succ >= 0.9: NOT EVALUATED*"])
    result = project.run(*R3, "--pitfalls-gate=easy.succ>=0.90")
    assert result.ret == pytest.ExitCode.TESTS_FAILED, "unless it was typed for this run"


def test_errors_fail_a_gated_suite(project, cases):
    project.engine(errors=cases[:1])
    result = project.run(*R3, "--pitfalls-gate=reverse.cs_exp >= 0.6")
    result.assert_outcomes(passed=2, errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_thresholds_of_ini(project, cases):
    project.engine(lose=cases)
    project.pytester.makeini("[pytest]\npitfalls_thresholds =\n  reverse: cm >= 0.5\n  reverse.cs_imp >= 1\n")
    document = project.results(*R3)
    project.last.assert_outcomes(passed=3)
    wanted = ["es >= 1", "cm >= 0.5", "cs_imp >= 1"]  # that the edit took is asked of every case
    assert [result["threshold"] for result in document["cases"][0]["thresholds"]] == wanted
    assert document["run"]["suites"][0]["thresholds"] == wanted
    document = project.results(*R3, "--pitfalls-untaken=judge")
    assert [result["threshold"] for result in document["cases"][0]["thresholds"]] == wanted[1:]


def test_a_case_whose_own_edit_did_not_take_is_not_green(project, cases):
    project.engine(untaken=cases[:2])
    result = project.run(*R3)
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines([f"FAILED *{cases[0]}* - PitfallFailed: edit 1 did not take (es = 0)"])
    assert "--pitfalls-untaken" not in str(result.stdout)


@pytest.mark.parametrize("where", ["option", "ini", "threshold"])
def test_that_it_took_can_be_left_unasked(project, cases, where):
    project.engine(untaken=cases[:2], lose=cases[:1])
    if where == "ini":
        project.pytester.makeini("[pytest]\npitfalls_untaken = judge\n")
    elif where == "threshold":
        project.pytester.makeini("[pytest]\npitfalls_thresholds =\n  reverse: es >= 0\n  reverse: cs_exp >= 1\n")
    result = project.run(*R3, *(["--pitfalls-untaken=judge"] if where == "option" else []))
    result.assert_outcomes(passed=2, failed=1)
    rerun = str(result.stdout).partition("rerun:")[2].splitlines()[1]
    assert ("--pitfalls-untaken=judge" in rerun) == (where != "threshold")


def test_a_misspelt_answer_to_untaken(project):
    result = project.run(*R3, "--pitfalls-untaken=ignore")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --pitfalls-untaken: unknown value 'ignore'", "  fix: *"])


def test_a_gate_fails_where_no_edit_took(project):
    project.engine(untaken=case_ids("reverse", 3))
    suite = project.whole("reverse", 3)
    result = project.run(suite, "--pitfalls-gate=reverse.cs_exp >= 0.4")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*reverse.cs_exp >= 0.4*no edit took (es = 0 in 3 scored cases)*"])
    assert project.run(suite, "--pitfalls-gate=reverse.es <= 0").ret == pytest.ExitCode.OK


def test_whole_run_problems_are_said_once(project):
    project.engine(refuse="there is no such model")
    result = project.run(*R3)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --pitfalls-model: there is no such model", "  fix: take another one"])
    assert str(result.stdout).count("no such model") == 0
    assert len(project.calls("open")) == 1


def test_a_test_of_the_users_judges_by_itself(project, cases):
    (project.path / "test_own.py").write_text(
        "import pytest\n@pytest.mark.pitfalls('reverse')\n"
        "def test_own(pitfall_outcome):\n    pitfall_outcome.check('cm >= 0.99')\n"
    )
    result = project.run("test_own.py", "--pitfalls-limit=1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["cm >= 0.99: failed, cm = 0.875, missed by 0.115", "  pytest 'test_own.py::test_own*"])


def test_teardown_errors_count(project):
    (project.path / "test_own.py").write_text(
        "import pytest\n@pytest.fixture\ndef late():\n    yield\n    raise RuntimeError('late')\n"
        "@pytest.mark.pitfalls('reverse')\ndef test_own(late, pitfall_outcome):\n    pass\n"
    )
    document = project.results("test_own.py", "--pitfalls-limit=1")
    assert [case["outcome"] for case in document["cases"]] == ["error"]
    assert document["cases"][0]["reason"] == "late"
    assert document["run"]["timings"]["load"] == 0.25


def test_the_rerun_command_of_a_suite_that_shares_its_name(project):
    """In its run the second suite is called after its folder; the command alone has to find it again."""
    import shlex
    import shutil

    from pytest_editpitfalls.shipped import suites_directory

    (project.path / "Mine-XL").mkdir()
    for name in (*WITH_EACH_SUITE, "reverse.jsonl", "reverse.toml"):
        shutil.copy(suites_directory() / name, project.path / "Mine-XL" / name)
    names = case_ids("reverse", 2)
    project.engine(lose=names[:1])
    result = project.run("--pitfalls-suite=reverse", "--pitfalls-suite=Mine-XL/reverse.toml", *R3[1:])
    lines = [line.strip() for line in result.outlines]
    command = next(line for line in lines if line.startswith("pytest ") and "Mine-XL-reverse" in line)
    again = project.pytester.runpytest_inprocess("-p", "no:cacheprovider", *shlex.split(command)[1:])
    again.assert_outcomes(failed=1)
    assert f"  {command}" in again.outlines
