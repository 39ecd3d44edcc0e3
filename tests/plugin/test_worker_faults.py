"""Faults of workers and batches, each really caused: a killed process, a hanging editor, a run killed as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from plugin_helpers import STORED, case_ids, command

R12 = ("--pitfalls-suite=reverse", "--pitfalls-limit=12")
ALONE = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "--editor=rome", *R12)


def computed(project) -> list[str]:
    """Ids of the cases that the engine was asked for, in the order of its calls."""
    return [case for call in project.calls("run") for case in call["ids"]]


@pytest.mark.parametrize("place", [0, 5, 11])
def test_a_worker_killed_in_mid_batch_costs_nothing_but_the_batch(project, place):
    cases = case_ids("reverse", 12)
    project.engine(kills_once=[cases[place]], size=64)
    document = project.results(*R12, "-n2", STORED)
    assert project.last.ret == pytest.ExitCode.OK
    assert [(case["id"], case["outcome"]) for case in document["cases"]] == [(case, "passed") for case in cases]
    again = [case for case in cases if computed(project).count(case) > 1]
    assert cases[place] in again
    assert len(again) <= 4  # the batch in flight


@pytest.mark.parametrize("workers", ["-n1", "-n2"])
def test_a_case_that_kills_every_worker_is_given_up_alone(project, workers):
    cases = case_ids("reverse", 12)
    project.engine(kills=[cases[6]], size=64)
    document = project.results(*R12, workers, STORED)
    assert project.last.ret == pytest.ExitCode.TESTS_FAILED
    outcomes = {case["id"]: case["outcome"] for case in document["cases"]}
    assert outcomes == {case: "error" if case == cases[6] else "passed" for case in cases}
    project.last.assert_outcomes(passed=11, errors=1)
    reason = next(case["reason"] for case in document["cases"] if case["outcome"] == "error")
    assert "worker process died 2 times while running it alone" in reason


def test_two_killers_in_one_batch(project):
    cases = case_ids("reverse", 12)
    project.engine(kills=[cases[0], cases[3]], size=64)
    project.run(*R12, "-n2").assert_outcomes(passed=10, errors=2)


def test_a_limit_on_restarts_ends_the_run_and_loses_nothing(project):
    cases = case_ids("reverse", 12)
    project.engine(kills=[cases[11]], size=64, slow=0.3)
    project.run(*R12, "-n2", "--max-worker-restart=1", STORED)
    project.engine()
    result = project.run(*R12, STORED)
    result.assert_outcomes(passed=12)
    stored = 12 - len(project.calls("run")[-1]["ids"])
    result.stdout.fnmatch_lines([f"*{stored} of 12 cases came from the store*"])
    assert stored >= 4


def test_a_run_killed_as_a_whole_goes_on_where_it_was(project):
    """kill -9 of the only process, then the same command on two workers."""
    cases = case_ids("reverse", 12)
    project.engine(kills_once=[cases[9]], size=3)
    words = [*ALONE]
    killed = subprocess.run(words, cwd=project.path, capture_output=True, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert computed(project) == cases
    result = project.run(*R12, "-n2", STORED)
    result.assert_outcomes(passed=12)
    assert sorted(computed(project)[12:]) == sorted(cases[9:])
    result.stdout.fnmatch_lines(["*9 of 12 cases came from the store*"])


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["plain", "n2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_ctrl_c_tells_what_was_done_and_goes_on_later(project, workers, number):
    cases = case_ids("reverse", 12)
    project.engine(slow=1.2, size=3)
    words = [*ALONE, *workers]
    process = subprocess.Popen(
        [*words, "--pitfalls-json=out.json"],
        cwd=project.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # a job in the background of a shell, as a CI may be, ignores the signal, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    records = project.path / ".pitfalls" / "records"
    while len(list(records.rglob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.3)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: every process of the run
    else:
        os.kill(process.pid, number)  # as a scheduler does
    text, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, text
    assert "editing pitfalls" in text
    assert (project.path / "out.json").exists()
    stored = len(list(records.rglob("*.json")))
    assert 3 <= stored < 12
    *_, counts, last = text.splitlines()
    assert " passed" in counts
    assert last == f"pitfalls: {stored} of 12 cases are stored; the same command goes on with the rest"
    assert "Traceback" not in text
    before = len(computed(project))
    project.engine()
    project.run(*R12, STORED).assert_outcomes(passed=12)
    assert len(computed(project)) - before == 12 - stored
    assert set(computed(project)[before:]) <= set(cases)


@pytest.mark.parametrize(
    ("batches", "options", "line"),
    [
        (0, (), "0 of 12 cases are stored; the same command begins anew"),
        (1, ("--pitfalls-fresh",), "3 of 12 cases are stored; the same command without --pitfalls-fresh goes on *"),
    ],
)
def test_what_the_last_line_says(project, batches, options, line):
    project.engine(interrupt_after=batches, size=3)
    result = project.pytester.runpytest_subprocess(*ALONE[3:], *options)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*no tests ran*" if not batches else "*3 passed*", f"pitfalls: {line}"])


def test_errors_and_what_the_disk_did_not_take_are_not_counted(project):
    cases = case_ids("reverse", 12)
    (project.path / "store").mkdir()
    project.engine(
        interrupt_after=2,
        size=3,
        errors=cases[1:2],
        extra="from pytest_editpitfalls.store.directory import Store\n"
        "write, Store.written = Store.write, 0\n"
        "def full(self, path, data):\n"
        "    Store.written += 'records' in str(path)\n"
        "    return Store.written <= 4 and write(self, path, data)\n"
        "Store.write = full\n",
    )
    result = project.pytester.runpytest_subprocess(*ALONE[3:])
    result.stdout.fnmatch_lines(["pitfalls: 3 of 12 cases are stored; the same command goes on with the rest"])


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["plain", "n2"])
def test_an_editor_that_hangs_is_an_error_of_its_case(project, workers):
    cases = case_ids("reverse", 12)
    project.engine(hangs=[cases[1]], size=4)
    started = time.monotonic()
    result = project.run(*R12, "--pitfalls-timeout=1", *workers)
    assert time.monotonic() - started < 60
    result.assert_outcomes(passed=11, errors=1)
    result.stdout.fnmatch_lines(["*editor 'rome' took longer than 1 s (--pitfalls-timeout)*"])


def test_a_batch_that_does_not_listen_to_the_signal_ends_its_process(tmp_path: Path):
    """Code that never comes back to Python: the main thread waits in C for a lock of its own, signals blocked."""
    script = tmp_path / "stuck.py"
    script.write_text(
        "import signal, threading\n"
        "from pytest_editpitfalls.execution import time_limit\n"
        "time_limit.GRACE = 0.5\n"
        "with time_limit.time_limit(0.5, 'case X', print):\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
        "    threading.Event().wait()\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 75
    assert "stuck.py" in done.stderr  # where it was


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon"])
def test_a_wrong_timeout(project, text):
    result = project.run(*R12, f"--pitfalls-timeout={text}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--pitfalls-timeout*no number of seconds*"])


def test_two_runs_at_once_share_one_store(project):
    project.engine(slow=0.5, size=3)
    words = [*ALONE]
    runs = [
        subprocess.Popen(words, cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    texts = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], texts
    assert all("12 passed" in text for text in texts)
    assert len(list((project.path / ".pitfalls" / "records").rglob("*.json"))) == 12
    assert command("store", "check", "--store", str(project.path / ".pitfalls")) == 0
