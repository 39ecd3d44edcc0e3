"""Building cases of many edits: sets of held facts, and several orders of each set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.suites.test_building import COUNTRIES, FakeModel, built, lines

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import _orders
from pytest_editpitfalls.program import HeldQuestion
from pytest_editpitfalls.suites import load_suite


def orders(out: Path, **settings: Any) -> dict[str, list[dict[str, Any]]]:
    """The lines of a suite that was built, by their sets."""
    built(out, settings.pop("model", None), suites=("lifelong",), **{"cases": 15, "per_target": 0.1, **settings})
    found: dict[str, list[dict[str, Any]]] = {}
    for row in lines(out / "lifelong.jsonl"):
        found.setdefault(row["rule"], []).append(row)
    return found


def edits(row: dict[str, Any]) -> list[tuple[str, ...]]:
    return [tuple(edit.values()) for edit in row["edits"]]


def test_cases_of_a_set_are_orders_of_the_same_edits(tmp_path: Path) -> None:
    found = orders(tmp_path)
    assert sorted(found) == [f"set-{number}" for number in range(1, _orders.SETS + 1)]
    for rows in found.values():
        assert len(rows) == 3
        assert len({frozenset(edits(row)) for row in rows}) == 1
        assert len({tuple(edits(row)) for row in rows}) == 3
        assert len({edits(row)[0] for row in rows}) == 3, "each order begins with another edit"
        assert all(row["others"] == rows[0]["others"] for row in rows)
    assert len(load_suite(tmp_path / "lifelong.toml").cases) == 15


def test_subjects_are_distinct_and_nothing_edited_is_among_the_others(tmp_path: Path) -> None:
    everywhere: set[str] = set()
    for rows in orders(tmp_path).values():
        row = rows[0]
        subjects = [edit["subject"] for edit in row["edits"]] + [fact["subject"] for fact in row["others"]]
        assert len(subjects) == len(set(subjects)) >= 12
        assert everywhere.isdisjoint(subjects), "sets share no subject"
        everywhere |= set(subjects)


def test_only_held_facts_are_in_a_set(tmp_path: Path) -> None:
    unknown = set(COUNTRIES[::4])

    def holds(question: HeldQuestion) -> bool:
        return not any(f" {label} " in question.prompts[0] for label in unknown)

    for rows in orders(tmp_path, model=FakeModel(holds)).values():
        for row in rows:
            assert unknown.isdisjoint(part["subject"] for part in (*row["edits"], *row["others"]))


def test_a_build_is_the_same_again(tmp_path: Path) -> None:
    assert orders(tmp_path / "one") == orders(tmp_path / "two")
    assert orders(tmp_path / "one") != orders(tmp_path / "other", seed=1)


def test_a_set_that_would_be_too_small_is_left_out_and_it_says_why(tmp_path: Path) -> None:
    known = set(COUNTRIES[:12])

    def holds(question: HeldQuestion) -> bool:
        return any(f" {label} " in question.prompts[0] for label in known)

    with pytest.raises(UsageError, match="too few of the facts beside it are held"):
        orders(tmp_path, model=FakeModel(holds))


def test_a_long_pool_gives_the_length_of_a_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_orders, "LENGTH", 11)
    monkeypatch.setattr(_orders, "OTHERS", 2)
    for rows in orders(tmp_path).values():
        assert [len(row["edits"]) for row in rows] == [11] * len(rows)
        assert [len(row["others"]) for row in rows] == [2] * len(rows)
