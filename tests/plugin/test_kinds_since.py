"""Ripple, deduction, append and round trips in a run: with the fake engine, and once with the real one."""

from __future__ import annotations

import json

import pytest
from test_real_engine import quick, run, tiny  # noqa: F401
from unit.conftest import SmallSuite

KINDS = ("deduction", "ripple", "append", "round_trips")


def write(folder, kind):
    """A small suite of a kind, with the kind's own thresholds; returns its option."""
    directory = folder / kind
    directory.mkdir()
    suite = SmallSuite(directory, kind)
    suite.header["name"] = kind
    del suite.header["thresholds"]
    return f"--pitfalls-suite={suite.write()}"


@pytest.fixture
def options(project):
    return [write(project.path, kind) for kind in KINDS]


TAKEN = {("new", "1"): 0.6, ("new_object", "1"): 0.6, ("true", "1"): 0.2, ("object", "1"): 0.4}


def test_an_edit_that_breaks_something_fails_its_case(project, options):
    """With everything else as likely as it was, nothing follows, and the former fact is deducible."""
    project.engine(f"fake_engine.GOOD.update({TAKEN!r})")
    document = project.results(*options)
    suites = {case["suite"]: case for case in document["cases"]}
    assert list(suites) == list(KINDS), "in the order of the kinds"
    assert {name for name, case in suites.items() if case["outcome"] == "failed"} == {*KINDS} - {"append"}
    assert suites["ripple"]["metrics"]["ripples"] == 0.0
    assert suites["deduction"]["metrics"]["ifr"] == 1.0
    assert suites["append"]["metrics"]["true_kept"] == 0.5
    assert suites["round_trips"]["metrics"]["trips_back"] == 0.0
    shown = project.last.outlines
    assert any(line.strip().startswith("What an edit spreads to") for line in shown)
    assert any(line.strip().startswith("What is left after many edits") for line in shown)
    assert any("edit 1: oak is a kind of ... tree -> fish" in line for line in shown)
    assert any("edit 2: oak is a kind of ... fish -> tree" in line for line in shown)


def test_an_edit_that_breaks_nothing_passes(project, options):
    good = {
        **TAKEN,
        **{(f"{name}:0", "1"): 0.5 for name in ("alias", "logical", "onward", "backward", "premise", "other")},
        **{(f"{name}:{place}", "1"): 0.05 for name in ("first", "false") for place in ("0", "1", "0:0", "1:0")},
        **{("object", f"{trips} trip{'s' * (trips > 1)}"): 0.6 for trips in (1, 2, 4, 8)},
    }
    project.engine(f"fake_engine.GOOD.update({good!r})")
    document = project.results(*options)
    failed = {case["suite"]: case["thresholds"] for case in document["cases"] if case["outcome"] != "passed"}
    assert not failed
    gate = project.run(
        *options, "--pitfalls-gate=round_trips.trips_alive_8 >= 0.9", "--pitfalls-gate=ripple.ripples >= 1"
    )
    assert gate.ret == 0


def test_a_whole_run_of_the_real_engine(tiny, tmp_path, quick):  # noqa: F811
    suites = [write(tmp_path, kind) for kind in KINDS]
    found = run(tmp_path, "--editor=rome", f"--model={tiny}", *suites, quick, "--pitfalls-json=out.json")
    assert found.returncode in (0, 1), found.stdout + found.stderr
    document = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert {case["suite"] for case in document["cases"]} == {*KINDS}
    assert {case["outcome"] for case in document["cases"]} <= {"passed", "failed"}
    for case in document["cases"]:
        unknown = [name for name, value in case["metrics"].items() if value is None]
        assert not unknown, (case["suite"], unknown)
    trips = next(case for case in document["cases"] if case["suite"] == "round_trips")
    states = {probe["state"] for probe in trips["probes"]}
    assert states == {"0", "1", "1 trip", "2 trips", "4 trips", "8 trips"}
