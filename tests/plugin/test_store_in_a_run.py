"""The store in a run: what is reused, what is not, replays, shards."""

from __future__ import annotations

import json
import subprocess

import pytest
from plugin_helpers import STORED, case_ids, command

R6 = ("--pitfalls-suite=reverse", "--pitfalls-limit=6")


def computed(project) -> list[str]:
    return [case for call in project.calls("run") for case in call["ids"]]


def test_a_second_run_computes_nothing_and_says_so(project):
    project.engine(lose=case_ids("reverse", 6)[:1])
    first = project.results(*R6, STORED)
    second = project.results(*R6, STORED)
    assert computed(project) == case_ids("reverse", 6)
    assert [case["metrics"] for case in first["cases"]] == [case["metrics"] for case in second["cases"]]
    assert [case["outcome"] for case in first["cases"]] == [case["outcome"] for case in second["cases"]]
    assert {case["cached"] for case in first["cases"]} == {False}
    assert {case["cached"] for case in second["cases"]} == {True}
    assert first["run"]["editors"] == second["run"]["editors"]
    project.last.stdout.fnmatch_lines(["*6 of 6 cases came from the store*"])


def test_only_what_is_missing_is_computed(project):
    project.run("--pitfalls-suite=reverse", "--pitfalls-limit=3", STORED)
    project.run(*R6, STORED, "-n2").assert_outcomes(passed=6)
    assert sorted(computed(project)) == sorted(case_ids("reverse", 6))


@pytest.mark.parametrize(
    "options",
    [("--pitfalls-seed=1",), ("--pitfalls-set=rome.v_lr=0.25",), ("--pitfalls-fresh",)],
    ids=["seed", "hyper-parameter", "fresh"],
)
def test_what_makes_other_numbers_is_computed_again(project, options):
    project.run(*R6, STORED)
    project.run(*R6, STORED, *options)
    assert len(computed(project)) == 12


def test_another_model_under_the_same_name_is_computed_again(project):
    project.run(*R6, STORED)
    project.engine(fingerprint="changed")
    project.run(*R6, STORED)
    assert len(computed(project)) == 12


def test_what_does_not_make_other_numbers_is_not(project):
    project.run(*R6, STORED)
    project.run(*R6, STORED, "--pitfalls-batch-size=2", "--pitfalls-gate=reverse.cs_exp >= 0.1", "-v")
    assert len(computed(project)) == 6


def test_errors_are_computed_again_and_replayed(project):
    cases = case_ids("reverse", 6)
    project.engine(errors=cases[:1])
    project.run(*R6, STORED).assert_outcomes(passed=5, errors=1)
    replayed = project.run(*R6, "--pitfalls-replay")
    replayed.assert_outcomes(passed=5, errors=1)
    replayed.stdout.fnmatch_lines(["*the solve is singular*"])
    project.run(*R6, STORED)
    assert computed(project) == [*cases, cases[0]]


def test_a_replay_loads_nothing_and_judges_anew(project):
    whole = project.whole("reverse", 6)
    first = project.results(whole, STORED)
    opened = len(project.calls("open"))
    project.engine(refuse="the model is gone")
    document = project.results(whole, "--pitfalls-replay", "--pitfalls-gate=reverse.cm >= 0.99")
    assert project.last.ret == pytest.ExitCode.TESTS_FAILED  # the new gate falls
    assert len(project.calls("open")) == opened
    assert document["run"]["replay"] is True
    assert {case["cached"] for case in document["cases"]} == {True}
    assert [case["metrics"] for case in document["cases"]] == [case["metrics"] for case in first["cases"]]
    assert document["run"]["models"] == first["run"]["models"]
    project.run(whole, "--pitfalls-replay", "-n2").assert_outcomes(passed=6)


def test_a_replay_of_what_is_not_there(project):
    result = project.run(*R6, "--pitfalls-replay")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "fix:" in str(result.stderr)
    project.run("--pitfalls-suite=reverse", "--pitfalls-limit=3", STORED)
    result = project.run(*R6, "--pitfalls-replay")
    result.assert_outcomes(passed=3, errors=3)
    result.stdout.fnmatch_lines(["*is not in the store*", "*run without --pitfalls-replay*"])


def test_a_replay_of_several_runs_asks_which(project):
    project.run(*R6, STORED)
    project.run(*R6, STORED, "--pitfalls-seed=1")
    result = project.run(*R6, "--pitfalls-replay")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "seed" in str(result.stderr)
    project.run(*R6, "--pitfalls-replay", "--pitfalls-seed=1").assert_outcomes(passed=6)
    keys = [json.loads(file.read_text()) for file in (project.path / ".pitfalls" / "headers").iterdir()]
    assert len(keys) == 2
    key = next((project.path / ".pitfalls" / "headers").iterdir()).stem
    project.run(*R6, "--pitfalls-replay", f"--pitfalls-replay-run={key[:12]}").assert_outcomes(passed=6)


def test_a_replay_has_no_model_for_a_test_that_asks_for_it(project):
    (project.path / "test_own.py").write_text(
        "import pytest\n@pytest.mark.pitfalls('reverse')\n"
        "def test_own(pitfall_outcome, edited_model):\n    with edited_model(): pass\n"
        "def test_base(base_model): pass\n"
    )
    project.run("test_own.py", "--pitfalls-limit=2", STORED).assert_outcomes(passed=3)
    result = project.run("test_own.py", "--pitfalls-limit=2", "--pitfalls-replay", "-rs")
    result.assert_outcomes(skipped=3)
    result.stdout.fnmatch_lines(["*a replay loads no model*"])


def test_options_that_contradict_each_other(project):
    for options in (("--pitfalls-replay", "--pitfalls-fresh"), ("--pitfalls-replay-run=ab",)):
        assert project.run(*R6, *options, STORED).ret == pytest.ExitCode.USAGE_ERROR


def test_a_directory_that_is_no_store(project):
    other = project.path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("dear to me")
    result = project.run(*R6, f"--pitfalls-store={other}", STORED)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert not project.calls("open")
    assert [file.name for file in other.iterdir()] == ["thesis.txt"]


def test_shards_then_one_replay_gates_the_whole(project):
    cases = case_ids("reverse", 6)
    project.engine(lose=cases[:3])
    whole = project.whole("reverse", 6)
    gate = "--pitfalls-gate=reverse.cs_exp >= 0.9"
    for number in (1, 2, 3, 4):
        result = project.run(whole, gate, f"--pitfalls-shard={number}/4", f"--pitfalls-store=part{number}", STORED)
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines([f"*NOT EVALUATED, shard {number}/4*"])
    assert sorted(computed(project)) == sorted(cases)
    parts = [str(project.path / f"part{number}") for number in (1, 2, 3, 4)]
    assert command("store", "merge", *parts, "--store", str(project.path / "whole")) == 0
    result = project.run(whole, gate, "--pitfalls-replay", "--pitfalls-store=whole")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*gate reverse.cs_exp >= 0.9*FAILED*0.5*"])


def test_more_shards_than_cases(project):
    result = project.run("--pitfalls-suite=reverse", "--pitfalls-limit=2", "--pitfalls-shard=3/3")
    assert result.ret == pytest.ExitCode.OK
    assert not project.calls("run")


@pytest.mark.parametrize("text", ["0/3", "4/3", "x"])
def test_a_wrong_shard(project, text):
    result = project.run(*R6, f"--pitfalls-shard={text}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--pitfalls-shard*no shard*", "*fix:*"])


def small_disk(folder, option):
    """A file system of a certain size at ``folder``; skips where none can be mounted."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["plain", "n2"])
def test_a_full_disk_loses_nothing_of_the_report(project, workers):
    disk = project.path / "disk"
    small_disk(disk, "size=32k")
    try:
        document = project.results(*R6, "--pitfalls-suite=easy", f"--pitfalls-store={disk}", STORED, *workers)
        kept = len(list(disk.rglob("records/*/*.json")))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert project.last.ret == pytest.ExitCode.OK
    assert len(document["cases"]) == 12
    assert 0 < kept < 12
    project.last.stdout.fnmatch_lines(["*WARNING: the store is incomplete: *No space left*not kept*"])


def test_a_store_that_cannot_be_written_is_read(project):
    disk = project.path / "disk"
    small_disk(disk, "size=4m")
    try:
        project.run("--pitfalls-suite=reverse", "--pitfalls-limit=3", f"--pitfalls-store={disk}", STORED)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        document = project.results(*R6, f"--pitfalls-store={disk}", STORED)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert project.last.ret == pytest.ExitCode.OK
    assert sum(case["cached"] for case in document["cases"]) == 3
    project.last.stdout.fnmatch_lines(["*WARNING: the store is incomplete: *Read-only file system*3 not kept*"])


def test_a_stored_file_that_is_damaged_is_computed_again(project):
    project.run(*R6, STORED)
    record = sorted((project.path / ".pitfalls" / "records").rglob("*.json"))[0]
    record.write_bytes(record.read_bytes()[:100])
    project.run(*R6, STORED).assert_outcomes(passed=6)
    assert len(computed(project)) == 7
    project.run(*R6, STORED)
    assert len(computed(project)) == 7  # whole again
