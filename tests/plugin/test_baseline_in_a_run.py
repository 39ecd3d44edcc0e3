"""Baselines in a run: save, known pitfalls, fixed and new ones, relative gates, refusals, update."""

from __future__ import annotations

import json

import pytest
from plugin_helpers import case_ids


@pytest.fixture
def cases():
    return case_ids("reverse", 6)


@pytest.fixture
def whole(project):
    return project.whole("reverse", 6)


def save(project, whole, lose=(), **settings):
    project.engine(lose=list(lose), **settings)
    result = project.run(whole, "--pitfalls-save=main")
    result.stdout.fnmatch_lines(["*baseline saved to *main.json"])
    return project.path / "pitfalls-baselines" / "main.json"


def test_a_known_pitfall_is_excused_a_new_failure_is_not(project, whole, cases):
    file = save(project, whole, lose=cases[:2])
    assert len(file.read_text().splitlines()) >= 6  # one case a line
    again = project.results(whole, "--pitfalls-baseline=main", "-rx")
    assert project.last.ret == pytest.ExitCode.OK
    project.last.assert_outcomes(passed=4, xfailed=2)
    project.last.stdout.fnmatch_lines(
        [
            "Against the baseline main: 6 cases on both sides, 2 known pitfalls, 0 new failures",
            "*known pitfall*",
        ]
    )
    assert again["comparison"]["known"] == 2
    project.engine(lose=[cases[0], cases[3]])
    worse = project.results(whole, "--pitfalls-baseline=main")
    assert project.last.ret == pytest.ExitCode.TESTS_FAILED
    project.last.assert_outcomes(passed=4, xfailed=1, failed=1)
    assert [key["id"] for key in worse["comparison"]["new_failures"]] == [cases[3]]
    assert [key["id"] for key in worse["comparison"]["fixed"]] == [cases[1]]
    project.last.stdout.no_fnmatch_line("*in the tables:*")  # one case worse, one better: the mean is the same
    project.last.stdout.fnmatch_lines([f"*worse now: reverse {cases[3]}*", f"*better now: reverse {cases[1]}*"])


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["plain", "n2"])
def test_with_workers_too(project, whole, cases, workers):
    save(project, whole, lose=cases[:2])
    project.run(whole, "--pitfalls-baseline=main", *workers).assert_outcomes(passed=4, xfailed=2)


def test_a_relative_gate_decides(project, cases):
    whole = project.whole("reverse", 40)
    every = case_ids("reverse", 40)
    save(project, whole, lose=every[:4])
    gate = "--pitfalls-fail-on=reverse.cs_exp:2pp"
    project.run(whole, "--pitfalls-baseline=main", gate).assert_outcomes(passed=36, xfailed=4)
    project.last = project.run("-q", whole, "--pitfalls-baseline=main", gate)
    project.last.stdout.fnmatch_lines(["gate reverse.cs_exp:2pp (rome on smollm2-135m): passed*"])
    project.engine(lose=every[:30])
    document = project.results(whole, "--pitfalls-baseline=main", gate)
    assert project.last.ret == pytest.ExitCode.TESTS_FAILED
    project.last.assert_outcomes(passed=10, xfailed=30)  # the gate decides
    assert document["relative_gates"][0]["verdict"] == "fail"
    project.last.stdout.fnmatch_lines(["*▼25.0*", "*▲ better than there, ▼ worse"])
    project.last.stdout.fnmatch_lines(["gate reverse.cs_exp:2pp*FAILED, cs_exp 0.9 -> 0.25, drop 0.65 *"])


def test_an_inconclusive_gate_leaves_it_to_the_cases(project, whole, cases):
    save(project, whole)
    project.engine(lose=cases[:1])
    options = (whole, "--pitfalls-baseline=main", "--pitfalls-fail-on=reverse.cs_exp:2pp")
    document = project.results(*options)
    assert document["relative_gates"][0]["verdict"] == "inconclusive"
    assert project.last.ret == pytest.ExitCode.TESTS_FAILED
    project.last.stdout.fnmatch_lines([f"this fails the run: reverse *: 1 new failure, {cases[0]}; *"])
    assert project.run(*options, "--pitfalls-inconclusive=pass").ret == pytest.ExitCode.OK
    assert project.run(*options, "--pitfalls-strict").ret == pytest.ExitCode.TESTS_FAILED


def test_deselected_cases_are_counted_and_gates_wait(project, whole, cases):
    save(project, whole, lose=cases[:2])
    document = project.results(whole, "--pitfalls-baseline=main", "--pitfalls-fail-on=*.cs_exp:2pp", "-k", cases[0])
    assert document["comparison"]["deselected"] == 5
    assert document["relative_gates"][0]["verdict"] == "not_evaluated"
    assert document["relative_gates"][0]["passed"] is None
    assert project.last.ret == pytest.ExitCode.TESTS_FAILED  # it was typed for this run: never a pass


REFUSED = "ERROR: --pitfalls-save: no baseline is saved from an incomplete run"


def test_no_baseline_of_an_incomplete_run(project, whole, cases):
    """Refused before anything is computed where it can be known; a case that is an error is found last."""
    project.engine()
    for options, why in (
        (("-k", cases[0]), "1 of 6 cases of reverse with rome on smollm2-135m are selected"),
        ((f"pitfalls/reverse.py::test_reverse[rome-smollm2-135m-{cases[0]}]",), "1 of 6 cases of reverse with rome"),
        (("--pitfalls-suite=easy", "-k", "reverse"), "no case of easy is selected"),
        (("--pitfalls-limit=2",), "the limit leaves 2 of 6 cases of reverse"),
        (("--pitfalls-shard=1/2",), "shard 1/2 has a part of the cases"),
        (("--pitfalls-limit=2", "-n2"), "the limit leaves 2 of 6 cases of reverse"),
    ):
        for saving in (("--pitfalls-save=main",), ("--pitfalls-baseline=main", "--pitfalls-update-baseline")):
            result = project.run(whole, *saving, *options)
            assert result.ret == pytest.ExitCode.USAGE_ERROR
            result.stderr.fnmatch_lines([f"ERROR: {saving[-1].partition('=')[0]}: no baseline is saved*: *{why}*"])
    assert not (project.path / "calls.jsonl").exists()
    project.pytester.makeini("[pytest]\npitfalls_limit = 2\n")
    project.run(whole, "--pitfalls-save=main").stderr.fnmatch_lines([f"{REFUSED}*limit leaves 2*"])
    assert not (project.path / "calls.jsonl").exists()
    project.pytester.makeini("[pytest]\n")
    result = project.run(whole, "--pitfalls-save=main", "-n2", "-k", cases[0])  # xdist's controller collects nothing
    result.stdout.fnmatch_lines([f"{REFUSED}*it has 1 of 6 cases*"])
    project.engine(errors=cases[:1])
    result = project.run(whole, "--pitfalls-save=main")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines([f"{REFUSED}*"])
    assert not (project.path / "pitfalls-baselines").exists()


def test_a_limit_that_leaves_all_cases_is_none(project, whole):
    project.run(whole, "--pitfalls-save=main", "--pitfalls-limit=6").stdout.fnmatch_lines(["*baseline saved to*"])


def test_update_accepts_what_became_worse(project, whole, cases):
    file = save(project, whole)
    project.engine(lose=cases[:3])
    assert project.run(whole, "--pitfalls-baseline=main").ret == pytest.ExitCode.TESTS_FAILED
    before = file.read_text()
    assert project.run(whole, "--pitfalls-baseline=main", "--pitfalls-update-baseline").ret == pytest.ExitCode.OK
    assert file.read_text() != before
    assert project.run(whole, "--pitfalls-baseline=main").ret == pytest.ExitCode.OK


def test_update_makes_a_baseline_that_is_not_there(project, whole):
    result = project.run(whole, "--pitfalls-baseline=new.json", "--pitfalls-update-baseline")
    assert result.ret == pytest.ExitCode.OK
    assert json.loads((project.path / "new.json").read_text())


def test_other_weights_and_other_cases_are_refused(project, whole, cases):
    file = save(project, whole)
    project.engine(fingerprint="another")
    result = project.run(whole, "--pitfalls-baseline=main")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "smollm2-135m" in str(result.stdout) + str(result.stderr)
    project.engine()
    rows = project.path / "suites" / "reverse.jsonl"
    lines = rows.read_text().splitlines()
    rows.write_text("\n".join(lines[1:]) + "\n")
    result = project.run(whole, "--pitfalls-baseline=main")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "ask something else" in str(result.stderr) or cases[0] in str(result.stderr)
    assert file.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "*"), ("[]", "*"), ('{"schema_version": 99}', "*"), ("\x00\xff", "*")],
)
def test_a_broken_baseline_is_a_usage_error(project, whole, text, words):
    (project.path / "bad.json").write_text(text)
    result = project.run(whole, "--pitfalls-baseline=bad.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "bad.json" in str(result.stderr)
    assert "Traceback" not in str(result.stderr)
    assert not project.calls("open")


@pytest.mark.parametrize(
    "options",
    [
        ("--pitfalls-baseline=absent",),
        ("--pitfalls-strict",),
        ("--pitfalls-update-baseline",),
        ("--pitfalls-fail-on=reverse.cs_exp:2pp",),
    ],
    ids=" ".join,
)
def test_options_without_a_baseline(project, whole, options):
    result = project.run(whole, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "fix:" in str(result.stderr)
    assert not project.calls("open")


@pytest.mark.parametrize("gate", ["reverse.nonsense:2pp", "nowhere.cs_exp:2pp", "reverse.cs_exp", "reverse.cs_exp:x"])
def test_a_wrong_relative_gate(project, whole, gate):
    save(project, whole)
    opened = len(project.calls("open"))
    result = project.run(whole, "--pitfalls-baseline=main", f"--pitfalls-fail-on={gate}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "fix:" in str(result.stderr)
    assert len(project.calls("open")) == opened


def test_html_markdown_and_the_job_summary(project, whole, cases, monkeypatch):
    summary = project.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    project.engine(lose=cases)
    result = project.run(
        whole,
        "--pitfalls-html=report.html",
        "--pitfalls-markdown=report.md",
        "--pitfalls-gate=reverse.cs_exp >= 0.9",
        "--junitxml=junit.xml",
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert cases[0] in (project.path / "report.html").read_text()
    assert "failed** - 1 of 1 gate failed, 6 of 6 cases" in (project.path / "report.md").read_text()
    assert "failed** - 1 of 1 gate failed, 6 of 6 cases" in summary.read_text()
    result.stdout.fnmatch_lines(["::error title=*"])
    xml = (project.path / "junit.xml").read_text()
    assert "pitfalls.metric.cs_exp" in xml


def test_reports_that_cannot_be_written_are_found_before_the_run(project, whole):
    for option in ("json", "html", "markdown"):
        result = project.run(whole, f"--pitfalls-{option}=nowhere/report")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"*--pitfalls-{option}: *does not exist*"])
    assert not project.calls("open")
