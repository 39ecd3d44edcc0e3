"""``--pitfalls-edits``: a run around somebody's own edits, in all that a run of any suite has."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from plugin_helpers import STORED

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from lint_knowledge import write_knowledge

if TYPE_CHECKING:
    from conftest import Project

EDITS = [
    {"id": "capital", "subject": "Country 1", "relation": "capital", "target_new": "City 1.3"},
    {"id": "continent", "subject": "Country 5", "relation": "P30", "target_new": "Farland"},
    {"id": "drink", "subject": "Ann", "prompt": "{} drinks", "target_new": "tea", "target_true": "milk"},
]
GOOD = "fake_engine.GOOD.update({('new', '1'): 0.6, ('neighbour_new:0', '0'): 0.1, ('neighbour_new:0', '1'): 0.1})"
LOST = GOOD.replace("'1'): 0.1", "'1'): 0.5")
"""What the first neighbour had before the edit is under the edit's object after it."""


@pytest.fixture
def own(project: Project) -> Project:
    """A project with a list of edits and with knowledge of its own, named in its ini file."""
    options = [option.partition("=") for option in write_knowledge(project.path / "knowledge")]
    lines = [
        f"pitfalls_{name.removeprefix('--')} = {Path(value).relative_to(project.path)}" for name, _, value in options
    ]
    (project.path / "pytest.ini").write_text("\n".join(["[pytest]", *lines, ""]), encoding="utf-8")
    write(project, EDITS)
    project.engine(GOOD)
    return project


def write(project: Project, edits: list[dict[str, str]], name: str = "mine.jsonl") -> None:
    text = "".join(json.dumps(each) + "\n" for each in edits)
    (project.path / name).write_text(text, encoding="utf-8")


def test_one_case_for_each_edit_and_no_other_suite(own: Project) -> None:
    assert own.ids("--pitfalls-edits=mine.jsonl") == [
        f"pitfalls/mine.py::test_mine[rome-smollm2-135m-{name}]" for name in ("capital", "continent", "drink")
    ]
    both = own.ids("--pitfalls-edits=mine.jsonl", "--pitfalls-suite=coverage", "--pitfalls-limit=2")
    assert [line.partition("::")[0] for line in both] == ["pitfalls/mine.py"] * 2 + ["pitfalls/coverage.py"] * 2


def test_the_record_of_a_run(own: Project) -> None:
    document = own.results("--pitfalls-edits=mine.jsonl")
    own.last.assert_outcomes(passed=3)
    own.last.stdout.fnmatch_lines(
        ["pitfalls: mine.jsonl: nothing is known around 1 of 3 edits; it is asked only whether*"]
    )
    (suite,) = document["run"]["suites"]
    assert (suite["name"], suite["kind"], suite["format"], suite["total"]) == ("mine", "edits", "edits", 3)
    cases = {case["id"]: case for case in document["cases"]}
    assert cases["drink"]["metrics"] == {"es": 1.0, "ps": None}
    assert [each["metric"] for each in cases["drink"]["thresholds"]] == ["es"]
    assert cases["continent"]["metrics"].keys() >= {"conclusions", "conclusions_lift", "neighbours_kept", "ties_kept"}
    assert not cases["continent"]["metrics"].keys() & {"inverses", "siblings_kept"}
    assert cases["continent"]["facts"]["conclusion:0"]["role"] == "what follows from the edit"
    (aggregate,) = document["aggregates"]
    assert aggregate["metrics"]["inverses"]["n"] == 1
    assert aggregate["metrics"]["es"]["n"] == 3


def test_an_edit_that_nothing_can_be_said_of_has_not_passed(own: Project) -> None:
    """Nobody says what it replaces, and nothing is known around it: it may have taken or not."""
    write(own, [*EDITS, {"id": "dish", "subject": "Ann", "prompt": "{} eats", "target_new": "rice"}])
    for more, skipped in (([], 1), (["--pitfalls-untaken=judge"], 2)):  # with it, whether an edit took says nothing
        result = own.run("--pitfalls-edits=mine.jsonl", "-rs", *more)
        result.assert_outcomes(passed=4 - skipped, skipped=skipped)
        result.stdout.fnmatch_lines(["SKIPPED*: not evaluated, * is unknown*"])


def test_a_case_that_fails_and_its_rerun(own: Project) -> None:
    own.engine(LOST)
    result = own.run("--pitfalls-edits=mine.jsonl", "--pitfalls-together")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["neighbours_kept_lift >= 0: failed, neighbours_kept_lift = *"])
    command = next(line.strip() for line in result.outlines if "test_mine[rome-smollm2-135m-capital]' --" in line)
    words = shlex.split(command)
    assert f"--pitfalls-edits={own.path / 'mine.jsonl'}" in words
    assert "--pitfalls-together" in words
    again = own.run(*words[1:], "--pitfalls-fresh", editor=False)
    again.assert_outcomes(failed=1)
    assert own.calls("run")[-1]["requests"] == {"capital": [3]}


def test_one_by_one_and_together(own: Project) -> None:
    own.run("--pitfalls-edits=mine.jsonl")
    assert own.calls("run")[-1]["requests"] == {"capital": [1], "continent": [1], "drink": [1]}
    result = own.run("--pitfalls-edits=mine.jsonl", "--pitfalls-together")
    assert own.calls("run")[-1]["requests"] == {"capital": [3], "continent": [3], "drink": [3]}
    result.stdout.fnmatch_lines(["pitfalls: mine.jsonl: all 3 edits are written in one step*"])


def test_stored_results_are_found_and_apart(own: Project) -> None:
    own.run("--pitfalls-edits=mine.jsonl", STORED)
    count = len(own.calls("run"))
    own.run("--pitfalls-edits=mine.jsonl", STORED).assert_outcomes(passed=3)
    assert len(own.calls("run")) == count
    own.run("--pitfalls-edits=mine.jsonl", "--pitfalls-together", STORED)
    assert own.calls("run")[-1]["ids"] == ["capital", "continent", "drink"]
    write(own, [*EDITS, {"id": "more", "subject": "Country 9", "relation": "crop", "target_new": "rye"}])
    own.run("--pitfalls-edits=mine.jsonl", STORED)
    assert own.calls("run")[-1]["ids"] == ["more"]
    own.run("--pitfalls-edits=mine.jsonl", "--pitfalls-replay").assert_outcomes(passed=4)


def test_a_baseline_knows_them_again(own: Project) -> None:
    own.run("--pitfalls-edits=mine.jsonl", "--pitfalls-save=main")
    own.engine(LOST)
    result = own.run("--pitfalls-edits=mine.jsonl", "--pitfalls-baseline=main")
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=2)


def test_gates_and_thresholds(own: Project) -> None:
    result = own.run("--pitfalls-edits=mine.jsonl", "--pitfalls-gate=mine.conclusions_lift >= 0.5")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*mine.conclusions_lift >= 0.5*"])
    own.run("--pitfalls-edits=mine.jsonl", "--pitfalls-gate=mine.es >= 0").assert_outcomes(passed=3)


def test_workers_make_the_same_cases(own: Project) -> None:
    own.run("--pitfalls-edits=mine.jsonl", "--pitfalls-together", "-n2").assert_outcomes(passed=3)
    assert {name for call in own.calls("run") for name in call["ids"]} == {"capital", "continent", "drink"}


def test_conflicts_are_a_note(own: Project) -> None:
    write(own, [*EDITS, {"id": "again", "subject": "Country 1", "relation": "P36", "target_new": "City 1.4"}])
    result = own.run("--pitfalls-edits=mine.jsonl")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        ["pitfalls: mine.jsonl: 1 conflict, the first at line 4: Country 1 (capital): City 1.4, but City 1.3 *"]
    )


def test_a_list_in_the_ini_file(own: Project) -> None:
    with (own.path / "pytest.ini").open("a", encoding="utf-8") as file:
        file.write("pitfalls_edits = mine.jsonl\npitfalls_together = true\n")
    own.run().assert_outcomes(passed=3)
    assert own.calls("run")[-1]["requests"]["drink"] == [3]
    own.run("pitfalls/coverage.py", "--pitfalls-limit=2").assert_outcomes(passed=2)
    own.run("pitfalls/mine.py::test_mine[rome-smollm2-135m-drink]").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pitfalls-together"], ["--pitfalls-together: there are no edits that it could be about"]),
        (["--pitfalls-facts=x.csv"], ["--pitfalls-facts: there are no edits", "--pitfalls-edits"]),
        (["--pitfalls-rules=x.toml"], ["--pitfalls-rules: there are no edits"]),
        (["--pitfalls-edits=none.jsonl"], ["none.jsonl: cannot read the file"]),
        (["--pitfalls-edits=bad.jsonl"], ["bad.jsonl:1, field relation: unknown relation 'captial'", "'capital'"]),
        (["--pitfalls-edits=mine.jsonl", "--pitfalls-facts=none.csv"], ["none.csv: cannot read the file"]),
        (["--pitfalls-edits=mine.jsonl", "--pitfalls-json=mine.jsonl"], ["--pitfalls-edits", "--pitfalls-json"]),
        (["--pitfalls-edits="], ["--pitfalls-edits: the value is empty"]),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(own: Project, options: list[str], words: list[str]) -> None:
    write(own, [{"subject": "Country 1", "relation": "captial", "target_new": "x"}], "bad.jsonl")
    result = own.run(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = "\n".join([*result.errlines, *result.outlines])
    for word in words:
        assert word in text
    assert not own.calls("open")


def test_edits_without_an_editor(own: Project) -> None:
    result = own.run("--pitfalls-edits=mine.jsonl", editor=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--pitfalls-edits" in "\n".join([*result.errlines, *result.outlines])
