"""A run without figures says so, and why, in every report."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_editpitfalls.cli.app import app
from pytest_editpitfalls.reports.html import render_html
from pytest_editpitfalls.reports.markdown import render_markdown
from pytest_editpitfalls.results import CaseRecord, RunResults
from pytest_editpitfalls.results.aggregates import aggregate
from pytest_editpitfalls.results.run_records import RunRecord, SuiteRecord
from pytest_editpitfalls.results.writer import write_results

NO_CASE = "no case ran: there are no figures"
NOT_SCORED = "no case was scored (2 skipped, 1 error): there are no figures"


def no_case() -> RunResults:
    return RunResults(run=RunRecord(exit_status=5))


def not_scored() -> RunResults:
    cases = [
        CaseRecord(id=f"c-{place}", source_index=place, suite="reverse", editor="rome", model="m", outcome=outcome)
        for place, outcome in enumerate(("skipped", "skipped", "error"))
    ]
    suite = SuiteRecord(name="reverse", kind="reverse", format="own", source="s", digest="d", total=3, selected=3)
    aggregates = aggregate(cases, {"reverse": "reverse"})
    return RunResults(run=RunRecord(exit_status=1, suites=[suite]), cases=cases, aggregates=aggregates)


BOTH = pytest.mark.parametrize(("make", "words"), [(no_case, NO_CASE), (not_scored, NOT_SCORED)], ids=["none", "some"])
Make = Callable[[], RunResults]


@BOTH
def test_html_and_markdown(make: Make, words: str) -> None:
    page = re.sub(r"(?s)<script.*", "", render_html(make()))
    assert f"! {words.capitalize()}." in page
    assert ('id="figures"' in page) == (make is not_scored)  # its suites have rows, with a dash for each figure
    assert f"⚠️ {words}." in render_markdown(make())


@BOTH
def test_the_commands(make: Make, words: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = tmp_path / "run.json"
    write_results(make(), run)
    for command in (["table"], ["table", "--latex"], ["plot", f"--out={tmp_path / 'plots'}"]):
        done = CliRunner().invoke(app, [command[0], str(run), *command[1:]], env={"COLUMNS": "120"})
        said = f"{done.output} {done.exception}"
        assert words in " ".join(said.split()), command
    assert not (tmp_path / "plots").exists()
    done = CliRunner().invoke(app, ["report", str(run)], env={"COLUMNS": "120"})
    assert (words if make is no_case else "rome on m: no case was scored; 1 error") in done.output
    if make is not_scored:
        assert "1 case is an error: it does not count in the tables" in done.output
        assert "2 cases were skipped: they do not count in the tables" in done.output
