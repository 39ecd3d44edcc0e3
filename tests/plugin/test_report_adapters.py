"""Other people's reports of a run, made by their real plugins: each case is in them, in words or as its record."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pytest
from plugin_helpers import case_ids

THREE = ("--pitfalls-suite=reverse", "--pitfalls-limit=3")
BOTH = pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])


@pytest.fixture
def cases(project) -> list[str]:
    """Three cases: one that passes, one that misses its threshold, one of which the editor makes an error."""
    good, bad, broken = case_ids("reverse", 3)
    project.engine(lose=[bad], errors=[broken], notes=("a <b>note</b>",))
    return [good, bad, broken]


@BOTH
def test_pytest_html(project, cases, workers):
    project.run(*THREE, "--html=report.html", *workers).assert_outcomes(passed=1, failed=1, errors=1)
    page = html.unescape((project.path / "report.html").read_text())
    tests = json.loads(page.partition('data-jsonblob="')[2].partition('"></div>')[0])["tests"]
    stories = {
        case: [
            extra["content"]
            for rows in tests.values()
            for row in rows
            if case in row["testId"]
            for extra in row["extras"]
        ]
        for case in cases
    }
    assert all(len(found) == 1 for found in stories.values())
    good, bad, broken = (html.unescape(found[0]) for found in stories.values())
    assert "edit 1: " in good
    assert "cs_exp = 1" in good
    assert "cs_exp 0 (wanted >= 1)" in bad
    assert "the solve is singular" in broken
    assert "<b>" not in page.replace("&lt;b&gt;", "")
    assert not list((project.path / "assets").glob("*.txt"))


@BOTH
def test_pytest_json_report(project, cases, workers):
    project.run(*THREE, "--json-report", "--json-report-file=report.json", *workers)
    tests = json.loads((project.path / "report.json").read_text())["tests"]
    records = [test["metadata"]["pitfall"] for test in tests]
    assert {record["id"]: record["outcome"] for record in records} == dict(
        zip(cases, ["passed", "failed", "error"], strict=True)
    )
    assert next(record for record in records if record["id"] == cases[0])["metrics"]["cs_exp"] == 1.0


def test_the_exit_status_in_a_json_report(project):
    """A gate that fails sets the exit status when all tests have passed."""
    option = project.whole("reverse", 3)
    project.engine(lose=case_ids("reverse", 1))
    result = project.run(option, "--pitfalls-gate=reverse.cs_exp >= 1", "--json-report", "--json-report-file=r.json")
    result.assert_outcomes(passed=2, xfailed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert json.loads((project.path / "r.json").read_text())["exitcode"] == pytest.ExitCode.TESTS_FAILED


@BOTH
def test_allure(project, cases, workers):
    project.run(*THREE, "--alluredir=allure", *workers)
    folder: Path = project.path / "allure"
    results: list[dict[str, Any]] = [json.loads(file.read_text()) for file in folder.glob("*-result.json")]
    stories = {
        case: (folder / attachment["source"]).read_text()
        for case in cases
        for result in results
        if case in result["name"]
        for attachment in result["attachments"]
        if attachment["name"] == "pitfall case"
    }
    assert "cs_exp = 1" in stories[cases[0]]
    assert "cs_exp 0 (wanted >= 1)" in stories[cases[1]]
    assert "the solve is singular" in stories[cases[2]]


def test_nothing_is_added_without_their_reports(project, cases):
    result = project.run(*THREE, "-p", "no:html", "-p", "no:pytest_jsonreport", "-p", "no:allure_pytest")
    result.assert_outcomes(passed=1, failed=1, errors=1)


def test_a_plugin_that_takes_no_case_costs_a_warning(project, cases):
    project.engine("import pytest_html.extras\ndel pytest_html.extras.html")
    result = project.run(*THREE, "--html=report.html")
    result.assert_outcomes(passed=3, warnings=3)
    result.stdout.fnmatch_lines(["*pytest-html did not take the case: AttributeError*"])
