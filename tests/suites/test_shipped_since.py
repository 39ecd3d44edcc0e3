"""The suites of later pitfalls that ship: whole, of facts that are known, asked for by name alone."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from pytest_editpitfalls.cases.case import Edit
from pytest_editpitfalls.knowledge import Knowledge, load_knowledge
from pytest_editpitfalls.pitfalls import PITFALLS
from pytest_editpitfalls.suites import load_suite
from pytest_editpitfalls.suites.checking import Material
from pytest_editpitfalls.suites.checks import run_checks
from pytest_editpitfalls.suites.discovery import suite_groups
from pytest_editpitfalls.suites.suite import Suite

SUITES = Path(__file__).resolve().parents[2] / "suites"
SHEETS = {path.parent.name: json.loads(path.read_text("utf-8")) for path in sorted(SUITES.glob("*/datasheet.json"))}
NAMES = [name for sheet in SHEETS.values() for name, suite in sheet["suites"].items() if suite["cases"]]


@cache
def suite_of(name: str) -> Suite:
    return load_suite(name)


@cache
def knowledge() -> Knowledge:
    return load_knowledge()


def test_every_later_pitfall_ships_a_suite() -> None:
    later = {pitfall.name for pitfall in PITFALLS if pitfall.topic.name in ("spread", "lifelong", "said")}
    assert set(NAMES) == later


@pytest.mark.parametrize("name", NAMES)
def test_the_counts_are_those_of_the_datasheet(name: str) -> None:
    (sheet,) = (sheet["suites"][name] for sheet in SHEETS.values() if name in sheet["suites"])
    cases = suite_of(name).cases
    assert (suite_of(name).kind, len(cases)) == (sheet["kind"], sheet["cases"])
    assert sum(Counter(case.group for case in cases).values()) == len({case.id for case in cases})


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_names_no_suite_leaves_it_out(name: str) -> None:
    groups = suite_groups()
    assert name not in groups["default"]
    assert name in groups[PITFALLS.get(suite_of(name).kind).topic.name]
    assert name in groups["all"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_replaced_is_true_and_what_is_written_is_not(name: str) -> None:
    def is_true(edit: Edit, label: str) -> bool:
        first, _, rest = label.partition(" ")
        names = {label, rest if first in ("a", "an", "the") else label}
        subject = edit.subject.removeprefix("the ").removeprefix("a ").removeprefix("an ")
        relation = edit.relation.removesuffix("-plural")
        return any(knowledge().is_true(relation, who, each) for who in {edit.subject, subject} for each in names)

    edits = [edit for case in suite_of(name).cases for edit in case.edits[:1]]
    assert [edit for edit in edits if is_true(edit, edit.new_object)] == []
    if name != "deduction":  # its edits replace what follows by a rule, and the tables need not have it
        assert [edit for edit in edits if not is_true(edit, edit.object)] == []


def test_the_checker_finds_nothing_wrong_in_them() -> None:
    found = run_checks(Material(tuple(suite_of(name) for name in NAMES)))
    assert [finding for findings in found.values() for finding in findings if finding.level == "error"] == []
