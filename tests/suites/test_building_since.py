"""Building the suites that came after the benchmark's: ripple, deduction, append and round trips."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import test_building
from test_building import CAPITALS, CONTINENTS, COUNTRIES, RELATIONS, FakeModel, built, facts, lines, relation

from pytest_editpitfalls.building.settings import plan_groups, plans
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import read_toml
from pytest_editpitfalls.knowledge import KnownFact, Relations, Rule
from pytest_editpitfalls.suites import load_suite

STRICT = (
    test_building.RULES[0],
    Rule(
        id="P1376&P30>P30",
        shape="composition",
        tied="P1376",
        first="P30",
        second="P30",
        strength="strict",
        subject_kinds=("city",),
        words="a seat lies where its realm lies",
    ),
)
CONTINENT_OF = {country: CONTINENTS[number % len(CONTINENTS)] for number, country in enumerate(COUNTRIES)}
REALM_OF = dict(zip(CAPITALS, COUNTRIES, strict=True))


@pytest.fixture(autouse=True)
def strict_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_building, "RULES", STRICT)


def build(out: Path, suite: str, model: FakeModel | None = None, **more: Any) -> list[dict[str, Any]]:
    built(out, model, suites=(suite,), **more)
    assert load_suite(out / f"{suite}.toml").cases
    header, _ = read_toml(out / f"{suite}.toml")
    assert header["default"] is False, "a run that names no suite stays with the paper's"
    return lines(out / f"{suite}.jsonl")


def test_a_ripple_follows_from_its_premise(tmp_path: Path) -> None:
    rows = build(tmp_path, "ripple")
    kinds = {name for row in rows for name in ("onward", "backward") if row.get(name)}
    assert kinds == {"onward", "backward"}
    for row in rows:
        (change,), (premise,) = row["edits"], row["premises"]
        if row.get("backward"):
            (conclusion,) = row["backward"]
            assert premise == {"relation": "P1376", "subject": conclusion["subject"], "object": change["subject"]}
            assert (conclusion["object"], conclusion["new_object"]) == (change["object"], change["new_object"])
        else:
            (conclusion,) = row["onward"]
            assert (change["relation"], conclusion["subject"]) == ("P1376", change["subject"])
            assert premise == {
                "relation": "P30",
                "subject": change["new_object"],
                "object": CONTINENT_OF[change["new_object"]],
            }
            assert conclusion["object"] == CONTINENT_OF[change["object"]] != conclusion["new_object"]
            # the seat's new realm had another seat
            (turned,) = row["logical"]
            assert (turned["relation"], turned["subject"], turned["new_object"]) == (
                "P36",
                change["new_object"],
                change["subject"],
            )
            assert REALM_OF[turned["object"]] == change["new_object"]
        assert all(fact["object"] != change["object"] for fact in row["others"])


def test_a_ripple_has_no_premise_that_is_not_held(tmp_path: Path) -> None:
    """Of what nobody knows nothing follows."""
    unknown = set(COUNTRIES[::2])
    model = FakeModel(lambda question: not any(country in question.prompts[0] for country in unknown))
    rows = build(tmp_path, "ripple", model)
    for row in rows:
        for fact in (*row["premises"], *row["others"]):
            assert fact["subject"] not in unknown


def test_aliases_of_a_ripple_are_nobody_elses(tmp_path: Path) -> None:
    known = [
        replace(fact, subject_aliases=("Shared Name", f"Old {fact.subject}", f"Zzz{number}land"))
        if fact.relation == "P30"
        else fact
        for number, fact in enumerate(facts())
    ]
    rows = [row for row in build(tmp_path, "ripple", known=known) if row.get("backward")]
    assert rows
    for row in rows:
        (alias,) = row["aliases"]
        assert alias["subject"].startswith("Zzz"), "one that holds the label is no other name, a shared one no name"
        assert alias["object"] == row["edits"][0]["object"]


def test_a_chain_deduces_what_the_edit_replaces(tmp_path: Path) -> None:
    rows = build(tmp_path, "deduction")
    for row in rows:
        (change,), ((first, last),) = row["edits"], row["chains"]
        assert (first["subject"], last["object"]) == (change["subject"], change["object"])
        assert (first["relation"], first["object"]) == ("P1376", last["subject"])
        assert change["new_object"] != CONTINENT_OF[last["subject"]]


def test_a_chain_of_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A landmark's continent by its city's, which follows by the city's realm."""
    tables = {**{name: RELATIONS[name] for name in RELATIONS}, "P131": relation("P131", "town", functional=True)}
    monkeypatch.setattr(test_building, "RELATIONS", Relations(Path("relations.toml"), tables))
    more = Rule(
        id="P131&P30>P30",
        shape="composition",
        tied="P131",
        first="P30",
        second="P30",
        strength="strict",
        subject_kinds=("tower",),
        words="a tower stands where its town lies",
    )
    monkeypatch.setattr(test_building, "RULES", (*STRICT, more))
    known = facts()
    for number, capital in enumerate(CAPITALS[:20]):
        fame: dict[str, Any] = {"popularity": 900.0 - number, "source": "made up", "license": "CC0-1.0"}
        continent = CONTINENT_OF[REALM_OF[capital]]
        known.append(
            KnownFact(f"{capital[::-1]}tor", "P131", capital, subject_kind="tower", object_kind="city", **fame)
        )
        known.append(KnownFact(capital, "P30", continent, subject_kind="city", object_kind="continent", **fame))
    rows = build(tmp_path, "deduction", known=known)
    long = [row["chains"][0] for row in rows if len(row["chains"][0]) == 3]
    assert long
    for chain in long:
        assert [fact["relation"] for fact in chain] == ["P131", "P1376", "P30"]
        assert all(one["object"] == other["subject"] for one, other in itertools.pairwise(chain))


@pytest.mark.parametrize("suite", ["append", "round_trips"])
def test_true_objects_are_held_or_said_to_be_true(tmp_path: Path, suite: str) -> None:
    """Every country has three neighbours; the model does not hold a third of all."""
    unknown = set(COUNTRIES[::3])
    rows = build(tmp_path, suite, FakeModel(lambda question: question.object not in unknown))
    seen = set()
    for row in rows:
        (change,) = row["edits"]
        number = COUNTRIES.index(change["subject"])
        true = {COUNTRIES[(number + step) % 60] for step in (1, 2, 5)}
        held = {change["object"], *row["others"]}
        assert held | set(row["also_true"]) == true
        assert not held & unknown
        assert set(row["also_true"]) <= unknown
        assert change["new_object"] not in true
        if suite == "append":
            false = row["false_objects"]
            assert 3 <= len(set(false)) == len(false) <= 6
            assert not {*false} & {*true, change["new_object"], change["subject"]}
        seen.add(len(row["others"]))
    assert seen == {1, 2}


def test_the_groups_of_a_build() -> None:
    groups = plan_groups()
    assert groups["default"] == ("reverse", "composite", "coverage", "easy", "hard")
    assert groups["all"] == tuple(plans())
    assert {"ripple", "deduction", "append"} <= set(groups["spread"])
    assert "round_trips" in groups["lifelong"]
    with pytest.raises(UsageError, match="did you mean 'spread'"):
        built(Path(), suites=("spred",))
