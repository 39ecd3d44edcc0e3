"""Files of other benchmarks in a run: every kind that they feed, from the option to the command that reruns a case."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[1] / "fuzz" / "corpus"
FEEDS = {
    "counterfact": {"coverage": 8},
    "zsre": {"coverage": 5},
    "mquake": {"composite": 4, "coverage": 4},
    "ripple_edits": {"reverse": 4, "composite": 2, "coverage": 7, "round": 3},
    "knowedit": {"reverse": 4, "coverage": 4, "round": 4},
    "peak": {"coverage": 3, "round": 3},
}


def bring(project, name):
    shutil.copy(SAMPLES / f"{name}.json" / "seed.json", project.path / f"{name}.json")
    return f"--pitfalls-suite={name}.json"


@pytest.mark.parametrize("name", FEEDS)
def test_every_kind_that_a_file_feeds_runs(project, name):
    document = project.results(bring(project, name))
    suites = {suite["name"]: (suite["kind"], suite["total"]) for suite in document["run"]["suites"]}
    assert suites == {f"{name}-{kind}": (kind, count) for kind, count in FEEDS[name].items()}
    assert len(document["cases"]) == sum(FEEDS[name].values())
    assert {case["outcome"] for case in document["cases"]} == {"passed"}
    project.last.stdout.fnmatch_lines([f"pitfalls: {name}.json is a * file*: * cases of * records*"])


def test_what_is_left_out_is_said(project):
    project.run(bring(project, "zsre")).stdout.fnmatch_lines(
        ["pitfalls: 1 record: there is nothing to write (the new object is empty) (first: row 5)"]
    )


def test_one_kind_and_the_command_that_reruns_a_case(project):
    option = f"{bring(project, 'mquake')}::composite"
    lost = "P50-P27-P50.P27-00001"
    project.engine(lose=[lost])
    document = project.results(option)
    assert [suite["name"] for suite in document["run"]["suites"]] == ["mquake-composite"]
    failed = [case for case in document["cases"] if case["outcome"] == "failed"]
    assert [case["id"] for case in failed] == [lost]
    target = f"pitfalls/mquake-composite.py::test_mquake-composite[rome-smollm2-135m-{lost}]"
    command = f"  pytest '{target}' --pitfalls-suite={project.path}/mquake.json::composite --editor=rome"
    assert command in project.last.outlines
    again = project.results(target, f"--pitfalls-suite={project.path}/mquake.json::composite")
    assert [case["id"] for case in again["cases"]] == [lost]
    gated = project.results(option, "--pitfalls-gate=mquake-composite.cs_exp >= 0.5")
    assert [gate["suite"] for gate in gated["gates"]] == ["mquake-composite"]


def test_in_ini_in_a_marker_and_with_workers(project):
    bring(project, "peak")
    (project.path / "pytest.ini").write_text("[pytest]\npitfalls_suites = peak.json::round\n")
    (project.path / "test_own.py").write_text(
        "import pytest\n@pytest.mark.pitfalls('peak.json::coverage')\n"
        "def test_own(pitfall_case, pitfall_outcome): assert pitfall_case.kind == 'coverage'\n"
    )
    assert len(project.results("test_own.py")["cases"]) == 3
    assert [suite["name"] for suite in project.results("-n", "2")["run"]["suites"]] == ["peak-round"]


def test_a_fetched_suite_by_its_name(project, monkeypatch):
    monkeypatch.setenv("EDITPITFALLS_CACHE", str(project.path / "cache"))
    option = "--pitfalls-suite=pitfalls/gpt2-xl/reverse"
    result = project.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*'pitfalls/gpt2-xl/reverse' has not been fetched*", "*editpitfalls suites fetch pitfalls*"]
    )
    folder = project.path / "cache" / "suites" / "pitfalls" / "gpt2-xl"
    folder.mkdir(parents=True)
    for name in ("reverse_edit.json", "conflict_prompts.json"):
        shutil.copy(SAMPLES / name / "seed.json", folder / name)
    document = project.results(option)
    assert [(suite["name"], suite["format"]) for suite in document["run"]["suites"]] == [("reverse", "published")]
    assert document["cases"]


def test_a_file_that_feeds_no_kind_ends_before_the_run(project):
    result = project.run(bring(project, "wikibigedit"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *this is a WikiBigEdit file with 2 records, and none of them can be a case*"])
    assert project.calls("open") == []
