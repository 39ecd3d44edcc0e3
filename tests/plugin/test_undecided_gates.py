"""A gate that decides nothing excuses nothing, and edits that no longer take fail the run: seen from outside."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest
from plugin_helpers import case_ids, command

GATE = ("--pitfalls-baseline=main", "--pitfalls-fail-on=reverse.cs_exp:2pp")
WORKERS = pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["plain", "n2"])


@pytest.fixture
def cases():
    return case_ids("reverse", 8)


@pytest.fixture
def whole(project, cases):
    """Eight cases; with a baseline in which each of them passes."""
    whole = project.whole("reverse", 8)
    project.engine()
    project.run(whole, "--pitfalls-save=main").assert_outcomes(passed=8)
    return whole


@WORKERS
def test_an_editor_that_nearly_stopped_editing_is_not_green(project, whole, cases, workers):
    """One case of eight still takes, three of the others lose: the gate alone proves nothing."""
    project.engine(untaken=cases[1:], lose=cases[1:4])
    document = project.results(whole, *GATE, "--pitfalls-untaken=judge", *workers)
    assert project.last.ret == pytest.ExitCode.TESTS_FAILED
    (gate,) = document["relative_gates"]
    assert (gate["verdict"], gate["passed"]) == ("inconclusive", None)
    first, second = document["reasons"]
    assert first["what"] == "unreliable"
    assert second["what"] == "new_failures"
    assert [key["id"] for key in second["cases"]] == sorted(cases[1:4], key=cases.index)
    project.last.stdout.fnmatch_lines(
        [
            "this fails the run: reverse (rome on smollm2-135m) is no longer reliable: edits took in 100 % of its *",
            "this fails the run: reverse (rome on smollm2-135m): 3 new failures, *; gate is inconclusive "
            "(reverse.cs_exp:2pp), so each case counts",
            "gate reverse.cs_exp:2pp (rome on smollm2-135m): INCONCLUSIVE*",
        ]
    )


@WORKERS
def test_new_failures_count_where_the_gate_is_inconclusive(project, whole, cases, workers):
    project.engine(lose=cases[:1])
    document = project.results(whole, *GATE, "--junitxml=junit.xml", "--pitfalls-markdown=out.md", *workers)
    assert project.last.ret == pytest.ExitCode.TESTS_FAILED
    project.last.assert_outcomes(passed=7, xfailed=1)
    (reason,) = document["reasons"]
    assert [key["id"] for key in reason["cases"]] == cases[:1]
    assert "1 new failure" in (project.path / "out.md").read_text()
    assert "This fails the run: reverse" in (project.path / "out.md").read_text().replace("\\", "")
    properties = {
        each.get("name"): each.get("value") for each in ElementTree.parse(project.path / "junit.xml").iter("property")
    }
    assert "so each case counts" in properties["pitfalls.reason.new_failures.reverse.rome.smollm2-135m"]


@pytest.mark.parametrize("hidden", [("--no-summary",), ("-q",), ("-qq",), ("-p", "no:terminal")], ids=" ".join)
def test_the_reason_is_seen_whatever_is_hidden(project, whole, cases, hidden):
    project.engine(lose=cases[:1])
    result = project.run(whole, *GATE, *hidden)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert f"1 new failure, {cases[0]}" in "\n".join([*result.outlines, *result.errlines])


def test_annotations_and_the_html_page_say_it(project, whole, cases, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "summary.md"))
    project.engine(lose=cases[:1])
    result = project.run(whole, *GATE, "--pitfalls-html=out.html")
    result.stdout.fnmatch_lines(["::error title=Worse than the baseline%3A reverse::reverse (rome on *1 new failure*"])
    assert "fails the run</span>" in (project.path / "out.html").read_text()
    assert "This fails the run" in (project.path / "summary.md").read_text()


@pytest.mark.parametrize(
    ("options", "ini", "status"),
    [
        ((), "", 1),
        (("--pitfalls-inconclusive=cases",), "", 1),
        (("--pitfalls-inconclusive=pass",), "", 0),
        (("--pitfalls-inconclusive=excess",), "", 0),
        (("--pitfalls-inconclusive=fail",), "", 1),
        ((), "pitfalls_inconclusive = pass", 0),
        (("--pitfalls-inconclusive=cases",), "pitfalls_inconclusive = pass", 1),
        (("--pitfalls-strict",), "pitfalls_inconclusive = pass", 1),
        (("--pitfalls-inconclusive=pass",), "pitfalls_strict = true", 0),
    ],
)
def test_what_inconclusive_means_can_be_said(project, whole, cases, options, ini, status):
    project.pytester.makeini(f"[pytest]\n{ini}\n")
    project.engine(lose=cases[:1])
    assert project.run(whole, *GATE, *options).ret == status


@pytest.mark.parametrize(("lost", "status"), [(3, 0), (7, 1)])
def test_new_failures_that_exceed_chance(project, whole, cases, lost, status):
    """The gate is about another metric, and proves nothing: seven of eight cases fail, and none is fixed."""
    project.engine(lose=cases[:lost])
    gate = ("--pitfalls-baseline=main", "--pitfalls-fail-on=reverse.ps:2pp")
    document = project.results(whole, *gate, "--pitfalls-inconclusive=excess")
    assert document["relative_gates"][0]["verdict"] == "inconclusive"
    assert project.last.ret == status
    assert [len(reason["cases"]) for reason in document["reasons"]] == [7] * status


@pytest.mark.parametrize(("option", "status"), [("cases", 0), ("pass", 0), ("fail", 1)])
def test_without_a_new_failure_an_inconclusive_gate_is_no_reason(project, whole, cases, option, status):
    (project.path / "pitfalls-baselines" / "main.json").write_text(
        without_scores((project.path / "pitfalls-baselines" / "main.json").read_text())
    )
    document = project.results(whole, *GATE, f"--pitfalls-inconclusive={option}")
    assert document["relative_gates"][0]["verdict"] == "inconclusive"
    assert document["reasons"] == []
    assert project.last.ret == status


def without_scores(text: str) -> str:
    """A baseline as an earlier version saved it."""
    document = json.loads(text)
    for group in document["groups"]:
        for case in group["cases"]:
            del case["scores"]
    return json.dumps(document)


def test_what_failed_in_the_baseline_stays_excused(project, cases):
    whole = project.whole("reverse", 8)
    project.engine(lose=cases[:2])
    project.run(whole, "--pitfalls-save=main")
    project.engine(lose=cases[:2], untaken=cases[:1])
    document = project.results(whole, *GATE)
    assert document["relative_gates"][0]["verdict"] == "inconclusive"
    assert document["comparison"]["known"] == 2
    assert project.last.ret == pytest.ExitCode.OK


def test_a_gate_of_ini_that_waits_excuses_no_new_failure(project, whole, cases):
    """Part of the suite: the gate cannot be evaluated, and decides nothing either."""
    project.pytester.makeini("[pytest]\npitfalls_fail_on = reverse.cs_exp:2pp\npitfalls_baseline = main\n")
    project.engine(lose=cases[:1])
    assert project.run(whole, "-k", cases[1]).ret == pytest.ExitCode.OK
    result = project.run(whole, "-k", cases[0])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["this fails the run: *; gate is without a verdict (reverse.cs_exp:2pp), so each*"])


def test_a_typed_gate_that_is_spelled_otherwise_is_the_same_gate(project, whole, cases):
    for gate in ("reverse.cs_exp : 2 pp", "*.cs_exp:0pp"):
        result = project.run(whole, "--pitfalls-baseline=main", f"--pitfalls-fail-on={gate}", "-k", cases[0])
        assert result.ret == pytest.ExitCode.TESTS_FAILED  # not evaluated, and asked for this very run


def test_edits_that_no_longer_take_fail_a_run_without_gates(project, cases):
    """Cases that failed in the baseline too are known: only the mark said so."""
    whole = project.whole("reverse", 8)
    project.engine(lose=cases)
    project.run(whole, "--pitfalls-save=main")
    project.engine(lose=cases, untaken=cases[1:])
    result = project.run(whole, "--pitfalls-baseline=main")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(xfailed=8)
    result.stdout.fnmatch_lines(["this fails the run: reverse * is no longer reliable: *12.5 % here*"])
    assert project.run(whole, "--pitfalls-baseline=main", "--pitfalls-success-floor=0.1").ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--pitfalls-inconclusive=perhaps",), "unknown value 'perhaps'"),
        (("--pitfalls-inconclusive=pass", "--pitfalls-strict"), "leave one of them out"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_refused(project, whole, options, message):
    result = project.run(whole, *GATE, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in str(result.stderr)


def test_an_authors_own_expected_failure_is_none_of_ours(project, whole, cases):
    (project.path / "test_mine.py").write_text(
        "import pytest\n"
        "@pytest.mark.pitfalls('suites/reverse.toml')\n"
        "@pytest.mark.xfail\n"
        "def test_mine(pitfall_outcome):\n"
        "    assert pitfall_outcome.metrics['cs_exp'] == 1\n"
    )
    project.engine(lose=cases[:1])
    document = project.results("test_mine.py", *GATE)
    assert document["reasons"] == []


@pytest.mark.parametrize(
    "gate",
    [("--pitfalls-gate=reverse.cs_exp_0 >= 0",), ("--pitfalls-fail-on=reverse.cs_exp_0:10pp",)],
    ids=["bound", "relative"],
)
def test_a_gate_on_a_control_excuses_nothing(project, whole, cases, gate):
    """No editor can change what the model says before any edit: such a gate would excuse every failure."""
    project.engine(lose=cases)
    result = project.run(whole, "--pitfalls-baseline=main", *gate)
    result.assert_outcomes(failed=8)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    project.results(whole, "--pitfalls-save=worse")
    there, here = (f"pitfalls-baselines/{name}.json" for name in ("main", "worse"))
    text = gate[0].partition("=")[2]
    assert command("compare", there, here, f"--fail-on={text}") == 1, "compare judges as a run does"


def test_a_gate_on_edit_success_does_not_hide_an_editor_that_changes_nothing(project, whole, cases):
    """The unedited model may prefer the new object by itself: es is 1 then, and nothing was edited."""
    project.engine(notes=("edit 1: changed nothing",))
    result = project.run(whole, "--pitfalls-gate=reverse.es >= 0.7")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["gate reverse.es >= 0.7 *: FAILED*no edit took (nothing was changed in 8 scored cases)*"]
    )


def test_a_case_that_passed_and_is_skipped_here_is_no_pass(project, whole, cases):
    project.engine(skips=cases[:2])
    document = project.results(whole, "--pitfalls-baseline=main")
    assert project.last.ret == pytest.ExitCode.TESTS_FAILED
    (reason,) = document["reasons"]
    assert reason["what"] == "lost"
    assert "they passed in the baseline and are skipped here" in reason["text"]
    assert {key["id"] for key in reason["cases"]} == set(cases[:2])


def test_a_relative_gate_excuses_only_what_it_has_compared(project, whole, cases):
    """Four cases are new and lose: the gate compared the others, and passes."""
    path = project.path / "pitfalls-baselines" / "main.json"
    base = json.loads(path.read_text())
    for group in base["groups"]:
        group["cases"] = [case for case in group["cases"] if case["id"] not in cases[4:]]
    path.write_text(json.dumps(base))
    project.engine(lose=cases[4:])
    document = project.results(whole, "--pitfalls-baseline=main", "--pitfalls-fail-on=reverse.cs_exp:0")
    (gate,) = document["relative_gates"]
    assert (gate["verdict"], gate["n"]) == ("pass", 4)
    assert project.last.ret == pytest.ExitCode.TESTS_FAILED
    (reason,) = document["reasons"]
    assert {key["id"] for key in reason["cases"]} == set(cases[4:])
    assert "the baseline does not have them" in reason["text"]


def test_held_only_on_both_sides_is_the_same_run(project, cases):
    """A case that was skipped in the baseline has no value there."""
    whole = project.whole("reverse", 8)
    project.engine(unheld={cases[0]: {"edit1": False}})
    project.run(whole, "--pitfalls-held-only", "--pitfalls-save=main").assert_outcomes(passed=7, skipped=1)
    options = ("--pitfalls-held-only", "--pitfalls-baseline=main", "--pitfalls-fail-on=reverse.cs_exp:0")
    document = project.results(whole, *options)
    (gate,) = document["relative_gates"]
    assert (gate["verdict"], gate["n"]) == ("pass", 7)
    assert project.last.ret == pytest.ExitCode.OK
