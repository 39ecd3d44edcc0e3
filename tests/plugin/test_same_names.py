"""Suites of one name in one run: results, ids and gates of one never become those of the other."""

from __future__ import annotations

import pytest
from plugin_helpers import case_ids

SHIPS = "--pitfalls-suite=reverse"


@pytest.fixture
def own(project) -> str:
    """The option of a suite of the user's that is called reverse, of two cases; both fail."""
    option = project.whole("reverse", 2)
    project.engine(lose=case_ids("reverse", 2))
    return option


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
@pytest.mark.parametrize("own_first", [True, False])
def test_beside_the_one_that_ships(project, own, own_first, workers):
    options = [own, SHIPS] if own_first else [SHIPS, own]
    document = project.results(*options, "--pitfalls-gate=reverse.cs_exp >= 0.1", *workers)
    totals = {suite["name"]: suite["total"] for suite in document["run"]["suites"]}
    assert totals["suites-reverse"] == 2
    assert totals["reverse"] > 2
    ran = {name: sum(case["suite"] == name for case in document["cases"]) for name in totals}
    assert ran == totals
    assert [gate["suite"] for gate in document["gates"]] == ["reverse"]
    project.last.stdout.fnmatch_lines(["pitfalls: 'suites-reverse' is suites/reverse.toml, 'reverse' is *"])
    # the command that reruns a case finds the case that failed
    target = "pitfalls/suites-reverse.py::test_suites-reverse"
    assert {case["suite"] for case in project.results(target, own)["cases"]} == {"suites-reverse"}
    only = project.results(f"pitfalls/reverse.py::test_reverse[rome-smollm2-135m-{case_ids('reverse', 3)[2]}]")
    assert [suite["total"] for suite in only["run"]["suites"]] == [totals["reverse"]]


def test_a_test_that_names_the_one_that_ships(project, own):
    (project.path / "test_own.py").write_text(
        "import pytest\n@pytest.mark.pitfalls('reverse')\n"
        "def test_own(pitfall_case, pitfall_outcome): assert pitfall_case.suite == 'shipped-reverse'\n"
        "@pytest.mark.pitfalls('suites/reverse.toml')\n"
        "def test_theirs(pitfall_case, pitfall_outcome): assert pitfall_case.suite == 'reverse'\n"
    )
    document = project.results("test_own.py", own)
    totals = {suite["name"]: suite["total"] for suite in document["run"]["suites"]}
    assert totals["reverse"] == 2
    assert totals["shipped-reverse"] > 2
    assert not [case for case in document["cases"] if case["outcome"] == "failed" and case["suite"] != "reverse"]


def test_a_name_means_what_ships(project):
    for name in ("reverse.toml", "reverse.json"):
        (project.path / name).write_text("{}")
    (project.path / "reverse").mkdir()
    result = project.run(SHIPS, "--pitfalls-limit=1")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["pitfalls: 'reverse' is the one that ships; the file here is --pitfalls-suite=./reverse.toml"]
    )


def test_a_baseline_of_the_other_is_refused(project, own):
    project.engine()
    assert project.run(own, "--pitfalls-save=main").ret == 0
    rows = project.path / "suites" / "reverse.jsonl"
    first, second = case_ids("reverse", 2)
    swapped = rows.read_text().replace(first, "?").replace(second, first).replace("?", second)
    rows.write_text(swapped)
    result = project.run(own, "--pitfalls-baseline=main")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*ask*"])
