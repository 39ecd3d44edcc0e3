"""pytest-xdist: whole batches to workers, the same results as without it, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from plugin_helpers import case_ids, on_a_terminal

R12 = ("--pitfalls-suite=reverse", "--pitfalls-limit=12")


def ran(project) -> list[tuple[int, list[str]]]:
    return [(call["pid"], call["ids"]) for call in project.calls("run")]


def verdicts(document: dict[str, Any]) -> dict[str, tuple[str, dict[str, float]]]:
    return {case["id"]: (case["outcome"], case["metrics"]) for case in document["cases"]}


def test_workers_run_whole_batches_and_each_case_once(project):
    project.engine(slow=0.2, size=64)
    document = project.results(*R12, "-n2")
    batches = ran(project)
    assert sorted(case for _, ids in batches for case in ids) == sorted(case_ids("reverse", 12))
    assert [len(ids) for _, ids in batches] == [4, 4, 4]
    assert len({pid for pid, _ in batches}) == 2
    assert len(document["cases"]) == 12


@pytest.mark.parametrize(
    "workers",
    [("-n0",), ("-n1",), ("-n2",), ("-n2", "--dist=load"), ("-n", "3"), ("-d", "--tx=2*popen")],
    ids=" ".join,
)
def test_the_same_results_however_it_is_run(project, workers):
    lost = case_ids("reverse", 6)[2:3]
    project.engine(lose=lost)
    options = ("--pitfalls-suite=reverse", "--pitfalls-suite=easy", "--pitfalls-limit=6")
    alone = project.results(*options)
    status = project.last.ret
    distributed = project.results(*options, *workers)
    assert project.last.ret == status == pytest.ExitCode.TESTS_FAILED
    assert verdicts(alone) == verdicts(distributed)
    assert [case["id"] for case in alone["cases"]] == [case["id"] for case in distributed["cases"]]


@pytest.mark.parametrize("mode", ["loadscope", "loadfile", "loadgroup", "worksteal", "each"])
def test_modes_that_tear_batches_apart_are_refused(project, mode):
    result = project.run(*R12, "-n2", f"--dist={mode}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--dist: '{mode}' sends single tests*", "*fix: use --dist=load*"])
    assert not project.calls("open")


def test_other_modes_are_nobodys_business_without_an_editor(project):
    (project.path / "test_own.py").write_text("def test_it(): pass\n")
    project.run("-n2", "--dist=loadfile", editor=False).assert_outcomes(passed=1)


def test_workers_elsewhere_are_refused(project):
    result = project.run(*R12, "-d", "--tx=ssh=nowhere")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--tx=ssh=nowhere*", "*--pitfalls-shard*"])


def test_other_tests_of_the_run_are_spread_as_usual(project):
    (project.path / "test_own.py").write_text(
        "import os, time, pytest\n"
        "@pytest.mark.parametrize('i', range(40))\n"
        "def test_it(i):\n    time.sleep(0.02)\n    open(f'pid-{os.getpid()}', 'w').close()\n"
    )
    result = project.run("test_own.py", *R12, "-n2")
    result.assert_outcomes(passed=52)
    assert len(list(project.path.glob("pid-*"))) == 2


def test_a_module_of_ones_own_shares_the_batches_of_its_suite(project):
    (project.path / "test_own.py").write_text(
        "import pytest\n@pytest.mark.pitfalls('reverse')\n"
        "def test_one(pitfall_outcome): pass\n"
        "@pytest.mark.pitfalls('reverse')\ndef test_two(pitfall_outcome): pass\n"
    )
    project.run("test_own.py", "--pitfalls-limit=12", "-n2").assert_outcomes(passed=24)
    computed = [case for _, ids in ran(project) for case in ids]
    assert sorted(computed) == sorted(case_ids("reverse", 12))  # none twice


def test_an_early_stop_keeps_what_was_done(project):
    project.engine(lose=case_ids("reverse", 12)[:1])
    document = project.results(*R12, "-n2", "-x")
    assert project.last.ret == pytest.ExitCode.INTERRUPTED
    assert "failed" in {case["outcome"] for case in document["cases"]}


def test_last_failed_and_k(project):
    lost = case_ids("reverse", 12)[:2]
    project.engine(lose=lost)
    options = (*R12, "-n2", "-p", "cacheprovider")
    pytester, base = project.pytester, ("-p", "no:hypothesispytest", "--editor=rome", "--pitfalls-fresh")
    pytester.runpytest_inprocess(*base, *R12, "-n2").assert_outcomes(passed=10, failed=2)
    pytester.runpytest_inprocess(*base, *R12, "-n2", "--lf").assert_outcomes(failed=2)
    project.run(*options, "-k", lost[0]).assert_outcomes(failed=1)


def test_a_shuffled_run(project):
    pytest.importorskip("pytest_randomly")
    for workers in ((), ("-n2",)):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--editor=rome", "--pitfalls-fresh", "-v", *R12, *workers],
            cwd=project.path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "12 passed" in done.stdout, done.stdout + done.stderr
        assert "--randomly-seed" in done.stdout
    batches = [ids for _, ids in ran(project)]
    assert sorted(case for ids in batches for case in ids) == sorted(case_ids("reverse", 12) * 2)
    order = case_ids("reverse", 12)
    assert all(sorted(ids, key=order.index) == ids for ids in batches)  # in the suite's order, as without the plugin


def test_the_memory_is_told(project, monkeypatch):
    from pytest_editpitfalls.engine.models import worker_memory

    def estimate(model, dtype, device, workers, in_place):
        return worker_memory.WorkersEstimate(workers, 10**9, 10**9, 4 * 10**9)

    monkeypatch.setattr(worker_memory, "workers_estimate", estimate)
    result = project.run(*R12, "-n2")
    result.stdout.fnmatch_lines(["*smollm2-135m: 2 workers share 1.00 GB of weights*3.0 GB of 4.0 GB*"])
    result = project.run(*R12, "-n4")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*-n 4*do not fit*", "*-n 3 fits*"])


def test_n_auto(project, monkeypatch):
    from pytest_editpitfalls.execution.xdist import controller

    monkeypatch.setattr(controller, "visible_gpus", lambda device: ("0", "1", "2"))
    result = project.run(*R12, "-n", "auto")
    result.stdout.fnmatch_lines(["*3 workers*"])


def test_every_worker_has_a_gpu_of_its_own_also_after_a_crash(project, monkeypatch):
    from pytest_editpitfalls.execution.xdist import controller

    case = case_ids("reverse", 12)[0]
    monkeypatch.setattr(controller, "visible_gpus", lambda device: ("5", "GPU-abc"))
    project.engine(
        kills_once=[case],
        slow=3.0,
        extra="import os\nopen(f'gpu-{os.getpid()}', 'w').write(os.environ.get('CUDA_VISIBLE_DEVICES', ''))\n"
        "def pytest_runtest_logreport(report):\n"
        "    open(f'gpu-{os.getpid()}', 'w').write(os.environ.get('CUDA_VISIBLE_DEVICES', ''))\n",
    )
    project.run(*R12, "-n2").assert_outcomes(passed=12)
    used = sorted(file.read_text() for file in project.path.glob("gpu-*") if file.read_text())
    assert set(used) == {"5", "GPU-abc"}


def test_the_progress_of_all_workers(project):
    project.engine(slow=2.5, size=64)
    text = on_a_terminal(project.path, *R12, "-n2", columns=150)
    assert "0/12 cases | gw0: edit 0/4 of 4 | gw1: edit 0/4 of 4" in text
