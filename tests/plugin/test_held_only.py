"""``--pitfalls-held-only``: cases that the model does not hold beforehand are left out, by name."""

from __future__ import annotations

from plugin_helpers import case_ids

REVERSE = ("--editor=rome", "--pitfalls-suite=reverse", "--pitfalls-limit=4", "-rs")


def test_cases_that_are_not_held_are_skipped_with_the_fact(project):
    first, second, third, fourth = case_ids("reverse", 4)
    project.engine(unheld={first: {"edit1": False}, second: {"edit1": None}, third: {}})
    document = project.results(*REVERSE, "--pitfalls-held-only")
    project.last.assert_outcomes(passed=1, skipped=3)
    reasons = {case["id"]: case["reason"] for case in document["cases"]}
    assert reasons[first].startswith("the model does not hold '")
    assert reasons[first].endswith("; left out by --pitfalls-held-only")
    assert reasons[second].startswith("it is not known whether the model holds '")
    assert reasons[third].startswith("the suite offers no other object")
    assert reasons[fourth] is None
    (aggregate,) = document["aggregates"]
    assert aggregate["n"] == 1
    assert document["held_aggregates"] == [aggregate]


def test_without_it_they_count_and_have_a_row_of_their_own(project):
    first, *_ = case_ids("reverse", 4)
    project.engine(unheld={first: {"edit1": False, "tied": True}})
    document = project.results(*REVERSE)
    project.last.assert_outcomes(passed=4)
    assert document["aggregates"][0]["n"] == 4
    assert document["held_aggregates"][0]["n"] == 3
    case = next(each for each in document["cases"] if each["id"] == first)
    assert case["held"] is False
    assert case["held_parts"] == {"edit1": False, "tied": True}


def test_the_ini_key_and_the_rerun_command(project):
    (project.path / "pytest.ini").write_text("[pytest]\npitfalls_held_only = true\n")
    ids = case_ids("reverse", 4)
    project.engine(lose=ids[:1], unheld={ids[1]: {"edit1": False}})
    result = project.run(*REVERSE)
    result.assert_outcomes(failed=1, passed=2, skipped=1)
    assert "--pitfalls-held-only" in result.outlines[result.outlines.index("rerun:") + 1]


def test_an_error_stays_an_error(project):
    first, *_ = case_ids("reverse", 4)
    project.engine(errors=[first], unheld={first: {"edit1": False}})
    document = project.results(*REVERSE, "--pitfalls-held-only")
    assert [case["outcome"] for case in document["cases"] if case["id"] == first] == ["error"]
