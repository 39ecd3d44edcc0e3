"""A stored run as results, without a model, and as a run of the commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from store_samples import CASE, HEADER, case, changed, filled, header, record

from pytest_editpitfalls.cli.app import main
from pytest_editpitfalls.cli.runs import open_run
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.store.directory import Store
from pytest_editpitfalls.store.results import UNJUDGED, stored_results
from pytest_editpitfalls.suites import Suite


def suite_of(*cases: object) -> Suite:
    return Suite("reverse", "reverse", cases, ("cs_exp >= 1",), "", "", Path("reverse.toml"), "d" * 64, "own")  # type: ignore[arg-type]


def test_what_the_cases_say_comes_from_the_suite(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", cases=3)
    found = stored_results(store, HEADER, [suite_of(*(case(number) for number in range(5)))])
    assert [each.id for each in found.cases] == ["P36-0000", "P36-0001", "P36-0002"]
    first = found.cases[0]
    assert (first.rule, first.subject) == ("P36>P1376", "France")
    assert first.edits[0].startswith("edit 1: The capital of France is")
    assert first.outcome == "failed"  # old and new are equally likely in the sample
    assert first.thresholds[0].passed is False
    assert first.cached
    assert (found.run.seed, found.run.dtype, found.run.replay) == (0, "float32", True)
    assert found.run.models[0].source == "models/tiny"
    (suite,) = found.run.suites
    assert (suite.total, suite.selected, suite.thresholds) == (5, 3, ["cs_exp >= 1"])
    (aggregate,) = found.aggregates
    assert (aggregate.n, aggregate.metrics["cs_exp"].value) == (3, 0.0)


def test_a_case_of_no_known_suite_is_reported_unjudged(tmp_path: Path) -> None:
    found = stored_results(filled(tmp_path / "store", cases=2), HEADER)
    assert [(each.outcome, each.reason, each.rule) for each in found.cases] == [("passed", UNJUDGED, "")] * 2
    assert found.cases[0].metrics["cs_exp"] == 0.0
    assert found.cases[0].probes
    assert found.aggregates[0].n == 2


def test_errors_skips_and_former_cases(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", cases=1)
    store.put(record(1, probes=(), error="it diverged"))
    store.put(record(2, probes=(), skipped="a target without tokens"))
    edited = changed(rule="P36>P17", edits=(replace(CASE.edits[0], new_object="Oslo"), CASE.edits[1]))
    found = stored_results(store, HEADER, [suite_of(edited, case(1), case(2))])
    outcomes = {each.id: each.outcome for each in found.cases}
    assert outcomes == {"P36-0000": "passed", "P36-0001": "error", "P36-0002": "skipped"}
    assert {each.reason for each in found.cases} == {UNJUDGED, "it diverged", "a target without tokens"}
    assert found.aggregates[0].n == 1


def test_runs_are_kept_apart(tmp_path: Path) -> None:
    other = header(seed=7)
    store = filled(tmp_path / "store", cases=1, headers=(HEADER, other))
    assert stored_results(store, other).run.seed == 7
    with pytest.raises(UsageError, match="holds no case of the run"):
        stored_results(store, header(seed=8))


def test_a_command_takes_the_beginning_of_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    filled(tmp_path / ".pitfalls", cases=2)
    key = HEADER.key[:6]
    opened = open_run(key)
    assert opened.name == HEADER.key[:12]
    assert len(opened.results.cases) == 2
    with pytest.raises(SystemExit) as left:
        main(["report", key, "--json", "out.json"])
    assert not left.value.code
    assert len(json.loads(Path("out.json").read_text())["cases"]) == 2
    with pytest.raises(UsageError, match="no stored run begins with '0000'"):
        open_run("0000" if not HEADER.key.startswith("0000") else "1111")
    capsys.readouterr()


def test_a_store_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(UsageError):
        open_run("abcd", tmp_path)
    assert Store.open(tmp_path / "new").header_keys() == []
