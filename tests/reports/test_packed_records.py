"""A run keeps its records packed: they say the same, take less, and are written as if they were not."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel
from report_samples import results

from pytest_editpitfalls.results.records import CaseRecord, RunResults
from pytest_editpitfalls.results.writer import read_results, write_results


@pytest.fixture
def packed() -> RunResults:
    run = results()
    for case in run.cases:
        case.pack()
    return run


def is_packed(case: CaseRecord) -> bool:
    return "probes" not in vars(case)


def test_a_packed_run_is_written_as_any_other_and_stays_packed(packed: RunResults, tmp_path: Path) -> None:
    plain = results()
    assert packed.model_dump_json(indent=1) == plain.model_dump_json(indent=1)
    write_results(packed, tmp_path / "packed.json")
    assert (tmp_path / "packed.json").read_text(encoding="utf-8") == plain.model_dump_json(indent=1) + "\n"
    assert all(map(is_packed, packed.cases))
    assert read_results(tmp_path / "packed.json") == plain


def test_a_run_without_cases_is_written_whole(tmp_path: Path) -> None:
    run = results()
    run.cases = []
    write_results(run, tmp_path / "none.json")
    assert (tmp_path / "none.json").read_text(encoding="utf-8") == run.model_dump_json(indent=1) + "\n"


def test_what_is_read_is_there_and_a_change_lasts(packed: RunResults) -> None:
    case, plain = packed.cases[0], results().cases[0]
    assert case.metrics == plain.metrics
    assert is_packed(case)
    case.probes[0].probabilities[0] = 0.125
    assert not is_packed(case)
    case.pack()
    assert case.probes[0].probabilities[0] == 0.125
    assert (case.facts, case.thresholds, case.edits) == (plain.facts, plain.thresholds, plain.edits)


def test_an_assignment_to_a_packed_field_lasts(packed: RunResults) -> None:
    case = packed.cases[0]
    case.outcome = "error"
    case.edits = ["another"]
    assert case.edits == ["another"]
    assert case.model_dump()["edits"] == ["another"]
    assert case.probes == results().cases[0].probes
    case.pack()
    assert (case.edits, case.outcome) == (["another"], "error")


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda case: case.model_copy(), lambda case: pickle.loads(pickle.dumps(case))],
)
def test_a_copy_says_the_same(packed: RunResults, copied: Callable[[CaseRecord], CaseRecord]) -> None:
    plain = results().cases[0]
    other = copied(packed.cases[0])
    assert other == plain
    assert repr(other) == repr(plain)


def size(value: object) -> int:
    """Bytes of a value and of all that it holds."""
    parts: list[object] = []
    if isinstance(value, dict):
        parts = [*value, *value.values()]
    elif isinstance(value, list):
        parts = value
    elif isinstance(value, BaseModel):
        parts = [vars(value), value.model_fields_set]
    return sys.getsizeof(value) + sum(map(size, parts))


def test_packed_records_take_a_fraction(packed: RunResults) -> None:
    bulk = {name: getattr(results().cases[0], name) for name in CaseRecord.PACKED}
    case = packed.cases[0]
    assert set(vars(case)) == CaseRecord.model_fields.keys() - set(CaseRecord.PACKED)
    assert size(case._packed) < size(bulk) / 5
