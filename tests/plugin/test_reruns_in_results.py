"""The record of a run says how each of its cases is run again."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from plugin_helpers import case_ids

from pytest_editpitfalls.reports.view.reruns import reruns
from pytest_editpitfalls.results import RunResults
from pytest_editpitfalls.results.rerun_record import RerunRecord

OWN = """import pytest
pytestmark = pytest.mark.pitfalls("reverse")
def test_one(pitfall_outcome): assert pitfall_outcome.metrics["cs_exp"] != 0
def test_two(pitfall_case): assert pitfall_case.id != {second!r}
"""


def commands(document: dict[str, Any], outcome: str) -> list[str]:
    """The command of each case with this outcome, put together as the page's script does."""
    results = RunResults.model_validate(document)
    found = reruns(results.run.reruns)
    lines = []
    for case in results.cases:
        own = [each for each in found if (each.suite, each.editor, each.model) == case.key[:3]]
        named = [each for each in own if case.id in each.cases] or [each for each in own if not each.cases]
        assert len(named) == 1
        if case.outcome == outcome:
            lines.append(f"{named[0].before}{case.id}{named[0].after}")
    return lines


def on_screen(result: pytest.RunResult) -> list[str]:
    """The commands that a run has printed below its failures, in pytest's own words or in ours."""
    return [line.strip() for line in result.outlines if line.strip().startswith("pytest ") and "[" in line]


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["alone", "worker"])
def test_they_are_the_commands_of_the_screen(project: Any, workers: tuple[str, ...]) -> None:
    lost = case_ids("reverse", 3)
    project.engine(lose=lost)
    small = ("--pitfalls-suite=reverse", project.whole("reverse", 2), "--pitfalls-limit=3")
    settings = ["--editor=memit+seed3", "--pitfalls-set=rome.v_lr=0.2", "--pitfalls-device=cpu", "--pitfalls-seed=7"]
    document = project.results(*small, *settings, *workers)
    found = commands(document, "failed")
    assert sorted(found) == sorted(on_screen(project.last))
    assert len(found) == 10  # three cases of the suite that ships and two of the user's own, by two editors
    assert len(document["run"]["reruns"]) == 4
    if not workers:
        own = next(command for command in found if "--pitfalls-suite=" in command and "rome" in command)
        again = project.pytester.runpytest_inprocess("-p", "no:cacheprovider", *shlex.split(own)[1:])
        again.assert_outcomes(failed=1)


def test_several_tests_of_ones_own_about_one_suite(project: Any) -> None:
    first, second, _ = case_ids("reverse", 3)
    project.engine(lose=[first])
    (project.path / "sub").mkdir()
    (project.path / "sub" / "test_own.py").write_text(OWN.format(second=second))
    document = project.results("sub", "--pitfalls-limit=3")
    tests = [command.split("::")[1].split("[")[0] for command in commands(document, "failed")]
    assert tests == ["test_one", "test_two"]
    assert sorted(commands(document, "failed")) == sorted(on_screen(project.last))
    assert [each["cases"] for each in document["run"]["reruns"]] == [[], [second]]
    assert "sub/test_own.py::test_one" in commands(document, "failed")[0]


def test_a_suite_and_a_test_of_ones_own_about_the_same_case(project: Any) -> None:
    """Whichever fails is the one that is run again."""
    (case,) = case_ids("reverse", 1)
    own = "import pytest\n@pytest.mark.pitfalls('reverse')\ndef test_one(pitfall_case): assert {passes}\n"
    (project.path / "test_own.py").write_text(own.format(passes=False))
    both = ("--pitfalls-suite=reverse", "--pitfalls-limit=1", "test_own.py")
    (command,) = commands(project.results(*both), "failed")
    assert "test_own.py::test_one" in command
    project.engine(lose=[case])
    (project.path / "test_own.py").write_text(own.format(passes=True))
    (command,) = commands(project.results(*both), "failed")
    assert "pitfalls/reverse.py::test_reverse" in command


def test_a_command_is_what_a_reader_sees() -> None:
    def one(*selects: str, options: tuple[str, ...] = ()) -> RerunRecord:
        return RerunRecord(suite="s", editor="e", model="m", selects=list(selects), options=list(options))

    odd = one("t.py::test[id-{id}-{id}]", options=("--pitfalls-suite=a b/{id}.toml",))
    (shown,) = reruns([odd])
    assert (shown.before, shown.after) == ("pytest 't.py::test[id-{id}-", "]' '--pitfalls-suite=a b/{id}.toml'")
    (shown,) = reruns([one("-k", "{id}")])
    assert f"{shown.before}P36-1{shown.after}" == "pytest -k P36-1"
    assert reruns([one("-k", "{id}", options=("--pitfalls-suite=a\x1b[2K",)), one("t.py")]) == []
