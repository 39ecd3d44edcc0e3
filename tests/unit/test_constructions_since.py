"""What the cases of the later kinds are made of, on a handful of facts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pytest_editpitfalls.knowledge import Knowledge, KnownFact, KnownRelation, Relations, Rule, Thing, read_relations
from pytest_editpitfalls.pitfalls import _orders
from pytest_editpitfalls.pitfalls._ripple_construction import RippleConstruction, _turned
from pytest_editpitfalls.pitfalls._several import SeveralConstruction
from pytest_editpitfalls.pitfalls.append import AppendConstruction
from pytest_editpitfalls.pitfalls.distraction import DistractionConstruction
from pytest_editpitfalls.pitfalls.inverse import InverseConstruction
from pytest_editpitfalls.pitfalls.locality import LocalityConstruction
from pytest_editpitfalls.pitfalls.same_subject import SameSubject, SameSubjectConstruction
from pytest_editpitfalls.shipped import facts_directory

PARAPHRASES = tuple(f"Way {number} to ask for it of {{}} is" for number in range(10))


def relation(name: str, **values: Any) -> KnownRelation:
    words: dict[str, Any] = {"prompt": f"The {name} of {{}} is", "paraphrases": PARAPHRASES, **values}
    return KnownRelation(id=name, label=name, **words)


def fact(subject: str, name: str, object_: str, kinds: str = "city/country", fame: float = 100.0) -> KnownFact:
    of, to = kinds.split("/")
    return KnownFact(subject, name, object_, subject_kind=of, object_kind=to, popularity=fame)


def knowledge(facts: list[KnownFact], *relations: KnownRelation, rules: tuple[Rule, ...] = ()) -> Knowledge:
    return Knowledge(facts, Relations(Path("relations.toml"), {each.id: each for each in relations}), rules)


def test_sentences_that_distract_are_of_the_best_known_thing_and_say_each_thing_once() -> None:
    known = knowledge(
        [
            fact("the Eiffel Tower", "city", "Paris", "landmark/city"),
            fact("the Shard", "city", "London", "landmark/city", 90.0),
            fact("London", "country", "England", fame=80.0),
            fact("London", "country", "Canada", fame=1.0),
            fact("London", "capital of", "England", fame=70.0),
            fact("England", "capital", "London", "country/city", 60.0),
            fact("England", "currency", "pound", "country/currency", 50.0),
            fact("Paris", "country", "Georgia", fame=40.0),
            fact("Georgia", "currency", "lari", "country/currency", 30.0),
            fact("Georgia", "currency", "dollar", "state/currency", 29.0),
        ],
        relation("city", functional=True),
        relation("country", functional=True),
        relation("capital of", functional=True),
        relation("capital", functional=True),
        relation("currency", functional=True),
    )
    construction = DistractionConstruction()
    group = next(each for each in construction.groups(known) if each.relation == "city")
    said = {
        each.edited.object: [(one.subject, one.object) for one in each.known]
        for each in construction.candidates(known, group)
    }
    assert said["London"] == [("London", "England"), ("England", "pound")]
    assert said["Paris"] == [("Paris", "Georgia")], "of Georgia nobody knows which one"
    own = next(each for each in construction.groups(known) if each.relation == "country")
    for candidate in construction.candidates(known, own):
        assert all(each.relation != "country" for each in candidate.known)


def test_sentences_that_distract_are_of_no_namesake() -> None:
    known = knowledge(
        [
            fact("the Eiffel Tower", "city", "Paris", "landmark/city"),
            fact("Paris", "continent", "Europe", "city/continent", 2000.0),
            fact("Paris", "continent", "North America", "city/continent", 20.0),
            fact("Paris", "state", "Texas", "city/state", 20.0),
        ],
        relation("city", functional=True),
        relation("continent", functional=True),
        relation("state", functional=True),
    )
    known = Knowledge(known, known.relations, agreed=False)
    construction = DistractionConstruction()
    group = next(each for each in construction.groups(known) if each.relation == "city")
    (candidate,) = construction.candidates(known, group)
    assert [each.key for each in candidate.known] == [("continent", "paris", "europe")]


def test_no_relation_and_no_object_has_most_of_a_chain() -> None:
    """Though 19 of 20 facts are of one relation, half of these have one object, and they are the best known."""
    many = [
        fact(f"Town {number}", "country", "China" if number % 2 else f"Land {number % 80}", fame=1000.0 - number / 10)
        for number in range(4000)
    ]
    few = [
        fact(f"{name} {number}", name, f"{name} of {number}", f"{name}/thing")
        for name in ("author", "painter", "symbol", "maker", "sport", "domain")
        for number in range(120)
    ]
    names = ("country", "author", "painter", "symbol", "maker", "sport", "domain")
    known = knowledge([*many, *few], *(relation(name, functional=True) for name in names))
    for number in range(_orders.SETS):
        pool = _orders._pool(known, number)
        chosen = pool[: _orders.LENGTH]
        assert len({each.subject for each in pool}) == len(pool)
        assert max(Counter(each.relation for each in chosen).values()) <= _orders.LENGTH / 5
        assert max(Counter(each.object for each in chosen).values()) <= _orders.LENGTH / 20


def inverse_rule(first: str, second: str, strength: Literal["strict", "default"] = "strict") -> Rule:
    return Rule(
        id=f"{first}>{second}", shape="inverse", first=first, second=second, strength=strength, words="turned round"
    )


def test_an_inverse_that_two_rules_give_is_one_conclusion() -> None:
    paris, rome = fact("France", "capital", "Paris", "country/city"), fact("Rome", "capital of", "Italy")
    known = knowledge(
        [paris, rome],
        relation("capital", functional=True),
        relation("capital of", functional=True),
        rules=(inverse_rule("capital", "capital of"), inverse_rule("capital of", "capital")),
    )
    assert _turned(known, paris, rome.of) == (rome,)


def composition(tied: str, first: str, second: str) -> Rule:
    return Rule(
        id=f"{tied}&{first}>{second}",
        shape="composition",
        tied=tied,
        first=first,
        second=second,
        strength="strict",
        words="what is in a country is in its continent",
    )


def test_what_followed_before_has_to_be_held() -> None:
    """What nobody knew gives way by itself. A conclusion is asked as a table states it, or as the rule gives it."""
    lyon, france = fact("Lyon", "country", "France"), fact("France", "continent", "Europe", "country/continent")
    kenya = fact("Kenya", "continent", "Africa", "country/continent")
    nairobi = fact("Nairobi", "country", "Kenya")
    known = knowledge(
        [lyon, france, kenya, nairobi, fact("Lyon", "continent", "Europe", "city/continent", 7.0)],
        relation("country", functional=True),
        relation("continent", functional=True),
        rules=(composition("country", "continent", "continent"),),
    )
    construction = RippleConstruction()
    found = [each for group in construction.groups(known) for each in construction.candidates(known, group)]
    held = {(each.group.relation, each.edited.subject): dict(each.held) for each in found}
    assert list(held["continent", "France"]) == ["edit1", "premise:0", "backward_old:0"]
    assert held["continent", "France"]["backward_old:0"].popularity == 7.0, "as the table states it"
    made = held["country", "Nairobi"]["onward_old:0"]
    assert made.key == ("continent", "nairobi", "africa")
    assert made.subject_kind == "city"


def test_aliases_and_inverses_are_asked_where_what_they_replace_is_held() -> None:
    """They are further facts, of which a case has those that the model holds."""
    cities = [fact("Lyon", "seat of", "France"), fact("Nairobi", "seat of", "Kenya")]
    aliased = replace(cities[0], subject_aliases=("Lugdunum",))
    turned = [fact("France", "seat", "Lyon", "country/city"), fact("Kenya", "seat", "Nairobi", "country/city")]
    places = [fact(name, "continent", where, "country/continent") for name, where in (("France", "E"), ("Kenya", "A"))]
    known = knowledge(
        [aliased, cities[1], *turned, *places],
        relation("seat of", functional=True),
        relation("seat", functional=True),
        relation("continent", functional=True),
        rules=(composition("seat of", "continent", "continent"), inverse_rule("seat of", "seat")),
    )
    construction = RippleConstruction()
    group = next(each for each in construction.groups(known) if each.relation == "seat of")
    candidate = next(each for each in construction.candidates(known, group) if each.edited.subject == "Lyon")
    alias, inverse = candidate.some
    assert (alias.subject, alias.relation, alias.object) == ("Lugdunum", "seat of", "France")
    assert inverse == turned[1]

    def draw(pool: list[Thing], fact: KnownFact, *, unlike: object = ()) -> Thing:
        return pool[0]

    row = construction.row(known, candidate, draw)
    assert row["edits"] == [{"relation": "seat of", "subject": "Lyon", "object": "France", "new_object": "Kenya"}]
    assert row["aliases"] == [{"relation": "seat of", "subject": "Lugdunum", "object": "France", "new_object": "Kenya"}]
    assert row["logical"] == [{"relation": "seat", "subject": "Kenya", "object": "Nairobi", "new_object": "Lyon"}]
    assert row["others"] == []
    bare = construction.row(known, replace(candidate, some=()), draw)
    assert (bare["aliases"], bare["logical"]) == ([], [])


def test_only_what_has_to_give_way_is_asked_the_other_way_round() -> None:
    known = knowledge(
        [fact("France", "capital", "Paris", "country/city")],
        relation("capital", functional=True),
        relation("capital of", functional=True),
        rules=(inverse_rule("capital", "capital of"), inverse_rule("capital of", "capital", "default")),
    )
    assert [group.name for group in InverseConstruction().groups(known)] == ["capital>capital of"]


def test_a_neighbour_is_not_called_by_the_subjects_name() -> None:
    names = ("Raleigh", "West Raleigh", "Durham", "Raleighwood")
    known = knowledge([fact(name, "state", "North Carolina") for name in names], relation("state", functional=True))
    construction = LocalityConstruction()
    (group,) = construction.groups(known)
    near = {each.edited.subject: {one.subject for one in each.some} for each in construction.candidates(known, group)}
    assert near["Raleigh"] == {"Durham", "Raleighwood"}
    assert near["West Raleigh"] == {"Durham", "Raleighwood"}
    assert near["Durham"] == {"Raleigh", "West Raleigh", "Raleighwood"}


def test_objects_are_added_where_one_of_several_is_asked_for() -> None:
    """Where the prompt asks for "the" object, an edit that replaces what was there is right."""
    known = Knowledge([], read_relations(facts_directory() / "relations.toml"))
    added = {group.relation for group in AppendConstruction().groups(known)}
    assert added == {
        "P1383", "ports", "P47", "export-partner", "crops", "P140", "P462", "P279R", "P527", "P800", "P1056"
    }  # fmt: skip
    away_and_back = {group.relation for group in SeveralConstruction().groups(known)}
    assert added | {"ingredient", "P37", "P1412"} < away_and_back
    assert "P5974" not in away_and_back, "two opposites of a word are synonyms"


def test_what_the_edit_bears_on_is_not_punished() -> None:
    known = knowledge(
        [
            fact("phosphorus", "block", "p", "element/block"),
            fact("phosphorus", "symbol", "P", "element/symbol", 90.0),
            fact("phosphorus", "number", "15", "element/number", 80.0),
        ],
        relation("block", functional=True),
        relation("symbol", functional=True),
        relation("number", functional=True, bears_on=("block",)),
    )
    construction = SameSubjectConstruction()
    group = next(each for each in construction.groups(known) if each.relation == "block")
    (candidate,) = construction.candidates(known, group)
    row = construction.row(known, candidate, lambda pool, fact, *, unlike=(): Thing("d", kind="block"))
    assert [each["relation"] for each in row["others"]] == ["symbol"], "p is a block, and P no block"
    assert [each["relation"] for each in row["related"]] == ["number"]
    assert "related_kept" not in SameSubject.columns


def test_what_edits_bear_on_are_relations_that_ship() -> None:
    relations = read_relations(facts_directory() / "relations.toml")
    pairs = {(each.id, other) for each in relations.values() for other in each.bears_on}
    assert {("subregion", "P30"), ("P17", "P131-state"), ("P407", "P495")} < pairs
    assert {other for _, other in pairs} <= set(relations)
