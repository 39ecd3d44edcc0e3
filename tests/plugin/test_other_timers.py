"""Other people's timers beside batches: a batch is no single test's work, and whatever is finished stays finished."""

from __future__ import annotations

import json

import pytest
from plugin_helpers import case_ids

SLOW = 1.0
"""Seconds of a batch of four cases."""

LIMIT = "--timeout=0.6"
FOUR = ("--pitfalls-suite=reverse", "--pitfalls-limit=4", "--pitfalls-batch-size=4")


@pytest.fixture(autouse=True)
def _slow(project):
    project.engine(slow=SLOW)


def run_apart(project, *args: str) -> pytest.RunResult:
    """Run pytest in a process of its own, which a timer may end."""
    options = ("-p", "no:randomly", "-p", "no:cacheprovider", "--editor=rome", *args)
    return project.pytester.runpytest_subprocess(*options)


@pytest.mark.parametrize("method", ["signal", "thread"])
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_a_batch_is_not_charged_to_its_first_test(project, method, workers):
    result = run_apart(project, *FOUR, "--pitfalls-limit=8", LIMIT, f"--timeout-method={method}", *workers)
    result.assert_outcomes(passed=8)
    assert sorted(len(call["ids"]) for call in project.calls("run")) == [4, 4]  # none was begun again


def test_the_header_says_what_limits_what(project):
    result = project.run(*FOUR, LIMIT)
    result.stdout.fnmatch_lines(
        ["pitfalls: the 0.6 s of pytest-timeout do not count batches of cases, which have no limit (--pitfalls-*"]
    )
    result = project.run(*FOUR, LIMIT, "--pitfalls-timeout=30")
    result.stdout.fnmatch_lines(["pitfalls: * do not count batches of cases, which may take 30 s each"])
    assert "pytest-timeout" not in project.run(*FOUR).stdout.str()


def test_our_own_limit_holds_beside_the_timer(project):
    hanging = case_ids("reverse", 4)[1]
    project.engine(hangs=[hanging])
    result = project.run(*FOUR, LIMIT, "--pitfalls-timeout=0.7")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines([f"ERROR *{hanging}* took longer than 0.7 s (--pitfalls-timeout)*"])


def test_a_timeout_of_the_test_itself(project):
    (project.path / "test_own.py").write_text(
        "import time, pytest\n"
        "@pytest.mark.timeout(0.6)\n"
        "@pytest.mark.pitfalls('reverse')\n"
        "def test_fixture(pitfall_outcome): time.sleep(0.1)\n"
        "@pytest.mark.timeout(0.6, func_only=True)\n"
        "@pytest.mark.pitfalls('coverage')\n"
        "def test_inside(request, pitfall_case): request.getfixturevalue('pitfall_outcome')\n"
    )
    project.run("test_own.py", "--pitfalls-limit=4").assert_outcomes(passed=8)


def test_the_timer_goes_on_after_the_batch(project):
    """The test of one case hangs by itself: it fails, as it does without the plugin."""
    hanging = case_ids("reverse", 4)[0]
    (project.path / "test_own.py").write_text(
        "import time, pytest\n"
        "@pytest.mark.pitfalls('reverse')\n"
        f"def test_own(pitfall_case, pitfall_outcome): time.sleep(20 * (pitfall_case.id == {hanging!r}))\n"
    )
    result = project.run("test_own.py", "--pitfalls-limit=4", LIMIT)
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines([f"FAILED *{hanging}* Timeout (>0.6s)*"])


def test_a_process_that_the_timer_ends_leaves_what_is_finished(project):
    """``--timeout-method=thread`` ends the process, here after the batch; the next run takes all from the store."""
    hanging = case_ids("reverse", 4)[0]
    own = project.path / "test_own.py"
    test = "import time, pytest\n@pytest.mark.pitfalls('reverse')\ndef test_own(pitfall_case, pitfall_outcome): "
    own.write_text(f"{test}time.sleep(20 * (pitfall_case.id == {hanging!r}))\n")
    options = ("test_own.py", "--pitfalls-limit=4", "--timeout-method=thread", LIMIT)
    assert run_apart(project, *options).ret == 1
    assert len(project.calls("run")) == 1
    own.write_text(f"{test}pass\n")
    result = run_apart(project, *options)
    result.assert_outcomes(passed=4)
    assert len(project.calls("run")) == 1


def test_a_worker_that_the_timer_ends_is_replaced(project):
    hanging = case_ids("reverse", 8)[0]
    (project.path / "test_own.py").write_text(
        "import time, pytest\n"
        "@pytest.mark.pitfalls('reverse')\n"
        f"def test_own(pitfall_case, pitfall_outcome): time.sleep(20 * (pitfall_case.id == {hanging!r}))\n"
    )
    result = run_apart(
        project,
        "test_own.py",
        "--pitfalls-limit=8",
        "-n",
        "2",
        "--timeout-method=thread",
        LIMIT,
        "--pitfalls-json=out.json",
    )
    outcomes = {case["id"]: case["outcome"] for case in json.loads((project.path / "out.json").read_text())["cases"]}
    assert outcomes.pop(hanging) == "error"
    assert list(outcomes.values()) == ["passed"] * 7
    assert result.ret == 1
    assert sum(len(call["ids"]) for call in project.calls("run")) == 8  # nothing was computed twice


def test_a_lent_model_is_edited_outside_of_the_timer(project):
    project.engine(edit_slow=SLOW)
    (project.path / "test_own.py").write_text(
        "import time, pytest\n"
        "@pytest.mark.pitfalls('reverse')\n"
        "def test_own(edited_model):\n    with edited_model(): time.sleep(0.1)\n"
    )
    project.run("test_own.py", "--pitfalls-limit=1", LIMIT).assert_outcomes(passed=1)
    result = project.run("test_own.py", "--pitfalls-limit=1", "--pitfalls-timeout=0.5")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*editor 'rome' took longer than 0.5 s (--pitfalls-timeout)*"])


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_the_timer_of_faulthandler(project, workers):
    (project.path / "pytest.ini").write_text(
        "[pytest]\nfaulthandler_timeout = 0.6\nfaulthandler_exit_on_timeout = true\n"
    )
    run_apart(project, *FOUR, *workers).assert_outcomes(passed=4)
