"""The builder of the shipped suites, with a scorer that knows what it is told."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "suites" / "build_suites.py"


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_suites", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class TableScorer:
    """Log-probability -1 for what is held, -5 otherwise; closeness is the length of the object."""

    def __init__(self, held: set[tuple[str, str, str]]) -> None:
        self.held = held

    def logprob(self, relation: str, subject: str, label: str) -> float:
        return -1.0 if (relation, subject, label) in self.held else -5.0

    def closeness(self, relation: str, subject: str, label: str) -> float:
        return float(len(label))


CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Peru": "Lima"}
CITIES = {
    "Italy": ("Rome", "Milan", "Florence"),
    "Japan": ("Tokyo", "Osaka", "Hiroshima"),
    "Peru": ("Lima", "Cusco", "Arequipa"),
}


@pytest.fixture
def facts(builder: ModuleType) -> Any:
    rows = [builder.Fact("P36", "country", country, (city,)) for country, city in CAPITALS.items()]
    rows += [builder.Fact("P1376", "country", city, (country,)) for country, city in CAPITALS.items()]
    rows += [builder.Fact("P1383", "country", country, cities) for country, cities in CITIES.items()]
    return builder.Facts(rows)


def capitals_held(*without: str) -> set[tuple[str, str, str]]:
    return {("P36", country, city) for country, city in CAPITALS.items() if country not in without}


RULE = {"id": "P36>P1376", "first": "P36", "second": "P1376", "kind": "country", "cases": 9}
ROUND_RULE = {"id": "1-N@P1383", "first": "P1383", "kind": "country", "cases": 9}


def test_only_held_facts_become_cases(builder: ModuleType, facts: Any) -> None:
    scorer = TableScorer(capitals_held("Peru"))
    cases = builder.build("reverse", [RULE], facts, scorer, 0)
    assert {case["edits"][0]["subject"] for case in cases} == set(CAPITALS) - {"Peru"}
    assert builder.not_held(cases, scorer) == []
    assert builder.not_held(cases, TableScorer(capitals_held("France"))) == [
        case["id"] for case in cases if case["edits"][0]["subject"] == "France"
    ]


def test_a_fact_without_margin_is_not_held(builder: ModuleType, facts: Any) -> None:
    class NearlyEqual(TableScorer):
        def logprob(self, relation: str, subject: str, label: str) -> float:
            if (subject, label) == ("Spain", "Rome"):
                return -1.0 - builder.MARGIN / 2
            return super().logprob(relation, subject, label)

    chosen = builder.select("reverse", [RULE], facts, NearlyEqual(capitals_held()), 0)
    pairs = {(candidate.fact.subject, candidate.object) for candidate in chosen}
    # Spain or Italy, never both: Rome is too near to Madrid when the question is Spain.
    assert len(pairs) == 4
    assert not {("Spain", "Madrid"), ("Italy", "Rome")} <= pairs


def test_same_seed_same_cases(builder: ModuleType, facts: Any) -> None:
    scorer = TableScorer(capitals_held())
    once, again, other = (builder.build("reverse", [RULE], facts, scorer, seed) for seed in (0, 0, 1))
    assert once == again
    assert once != other


def test_reverse_targets_are_false(builder: ModuleType, facts: Any) -> None:
    for seed in range(20):
        for case in builder.build("reverse", [RULE], facts, TableScorer(capitals_held()), seed):
            first, second = case["edits"]
            assert second["subject"] == first["new_object"]
            assert CAPITALS[second["new_object"]] not in (first["object"], first["new_object"])


def test_easy_is_close_and_hard_is_far(builder: ModuleType, facts: Any) -> None:
    scorer = TableScorer({("P1383", country, city) for country, cities in CITIES.items() for city in cities})
    easy, hard = (
        {case["edits"][0]["object"] for case in builder.build(suite, [ROUND_RULE], facts, scorer, 0)}
        for suite in ("easy", "hard")
    )
    assert easy == {"Florence", "Hiroshima", "Arequipa"}
    assert hard == {"Rome", "Lima"}
    for case in builder.build("hard", [ROUND_RULE], facts, scorer, 0):
        assert case["edits"][0]["new_object"] not in case["true_objects"]


def test_a_fact_given_twice_is_refused(builder: ModuleType) -> None:
    fact = builder.Fact("P36", "country", "France", ("Paris",))
    with pytest.raises(SystemExit, match="P36 of 'France' is given twice"):
        builder.Facts([fact, fact])


def test_no_target_left_says_what_to_add(builder: ModuleType) -> None:
    stuck = builder.Facts(
        [
            builder.Fact("P30", "country", "Peru", ("South America",), never=("Africa",)),
            builder.Fact("P30", "country", "Kenya", ("Africa",), never=("South America",)),
        ]
    )
    rule = {"id": "P30", "first": "P30", "kind": "country", "cases": 2}
    scorer = TableScorer({("P30", "Peru", "South America"), ("P30", "Kenya", "Africa")})
    with pytest.raises(SystemExit, match=r"P30, .*facts\.jsonl"):
        builder.build("coverage", [rule], stuck, scorer, 0)


def test_a_case_without_rivals_is_left_out(builder: ModuleType) -> None:
    alone = builder.Facts([builder.Fact("P30", "country", "Peru", ("South America",), targets=("Asia", "Africa"))])
    rule = {"id": "P30", "first": "P30", "kind": "country", "cases": 1}
    scorer = TableScorer({("P30", "Peru", "South America")})
    assert builder.build("coverage", [rule], alone, scorer, 0) == []
