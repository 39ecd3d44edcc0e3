"""What the shipped relations, rules and facts by hand promise to the builder."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from pytest_editpitfalls.knowledge import (
    KnownFact,
    KnownRelation,
    Relations,
    load_knowledge,
    read_relations,
    read_rules,
)
from pytest_editpitfalls.knowledge.relations import Wording
from pytest_editpitfalls.knowledge.rules import Rule

FACTS = Path(__file__).parents[2] / "suites" / "facts"
ARTICLES = {"a", "an", "the"}
SINGLE_VALUED = ("P17", "P50", "P131", "P170", "P176", "P407", "P641")


@pytest.fixture(scope="module")
def relations() -> Relations:
    return read_relations(FACTS / "relations.toml")


@pytest.fixture(scope="module")
def rules(relations: Relations) -> tuple[Rule, ...]:
    return read_rules(FACTS / "rules.toml", relations)


@pytest.fixture(scope="module")
def facts() -> list[KnownFact]:
    path = FACTS / "by_hand.csv"
    knowledge = load_knowledge([path], FACTS / "relations.toml", FACTS / "rules.toml")
    return list(knowledge)


def wordings(relations: Relations) -> list[tuple[str, Wording]]:
    found: list[tuple[str, Wording]] = []
    for name, relation in relations.items():
        found.append((name, relation))
        if relation.plural is not None:
            found.append((f"{name}.plural", relation.plural))
    return found


def prompts(wording: Wording) -> list[str]:
    return [wording.prompt, *wording.paraphrases]


def test_there_are_enough_relations_and_rules(relations: Relations, rules: tuple[Rule, ...]) -> None:
    assert len(relations) >= 44
    assert len(rules) >= 22


def test_every_relation_is_asked_in_eleven_different_ways(relations: Relations) -> None:
    for name, wording in wordings(relations):
        plain = [" ".join(prompt.casefold().replace(",", "").split()) for prompt in prompts(wording)]
        repeated = [prompt for prompt, times in Counter(plain).items() if times > 1]
        assert not repeated, f"{name}: {repeated}"
        assert len(wording.paraphrases) >= 10, name
        assert wording.query.endswith("?"), name
        assert wording.query.count("{}") == 1, name


def test_prompts_are_in_sentence_case_and_lead_to_the_object(relations: Relations) -> None:
    for name, wording in wordings(relations):
        for prompt in prompts(wording):
            assert prompt.startswith("{}") or prompt[0].isupper(), f"{name}: {prompt}"
            assert prompt.split()[-1].casefold() not in ARTICLES, f"{name} ends with an article: {prompt}"
            assert prompt[-1] not in ".?!:;", f"{name} is a finished sentence: {prompt}"
            before = prompt.split("{}", maxsplit=1)[0].split()
            assert not before or before[-1].casefold() not in ARTICLES, f"{name} gives an article itself: {prompt}"


def test_subjects_stand_at_the_start_and_in_the_middle(relations: Relations) -> None:
    for name, wording in wordings(relations):
        first = sum(prompt.startswith("{}") for prompt in prompts(wording))
        assert 1 <= first < len(prompts(wording)), f"{name}: {first} prompts begin with the subject"


def test_relations_with_a_different_verb_in_the_plural_say_so(relations: Relations) -> None:
    for name, relation in relations.items():
        if relation.plural is not None:
            assert relation.plural.paraphrases != relation.paraphrases, name
            for prompt in prompts(relation.plural):
                assert not prompt.startswith(("{} is ", "{} has ", "{} was ")), f"{name}.plural: {prompt}"


def test_kinds_of_rules_fit_their_relations(relations: Relations, rules: tuple[Rule, ...]) -> None:
    def common(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
        return not one or not other or bool(set(one) & set(other))

    for rule in rules:
        first, second = relations[rule.first], relations[rule.second]
        if rule.shape == "inverse":
            assert common(first.subject_kinds, second.object_kinds), rule.id
            assert common(first.object_kinds, second.subject_kinds), rule.id
            assert common(rule.subject_kinds, first.subject_kinds), rule.id
        else:
            assert rule.tied is not None
            tied = relations[rule.tied]
            assert common(rule.subject_kinds or tied.subject_kinds, second.subject_kinds), rule.id
            assert common(rule.middle_kinds or tied.object_kinds, first.subject_kinds), rule.id
            assert common(first.object_kinds, second.object_kinds), rule.id


def test_a_strict_rule_concludes_with_a_relation_of_one_object(relations: Relations, rules: tuple[Rule, ...]) -> None:
    strict = [rule for rule in rules if rule.strength == "strict"]
    assert strict
    for rule in strict:
        assert relations[rule.second].functional, f"{rule.id}: both edits can be true"


def test_facts_by_hand_fit_their_relations(relations: Relations, facts: list[KnownFact]) -> None:
    assert len(facts) >= 600
    for fact in facts:
        relation: KnownRelation = relations[fact.relation]
        assert relation.allows(fact.subject_kind), fact
        assert fact.object_kind in relation.object_kinds, fact
        assert fact.source == "by hand", fact
        assert fact.license == "MIT", fact
        assert 0 < fact.popularity <= 1000, fact


def test_facts_by_hand_are_of_one_mind(facts: list[KnownFact]) -> None:
    objects: dict[tuple[str, str], set[str]] = defaultdict(set)
    kinds: dict[tuple[str, str], set[str]] = defaultdict(set)
    for fact in facts:
        if fact.relation in SINGLE_VALUED:
            objects[fact.relation, fact.subject].add(fact.object)
        kinds[fact.relation, fact.subject].add(fact.subject_kind)
    assert {key: found for key, found in objects.items() if len(found) > 1} == {}
    assert {key: found for key, found in kinds.items() if len(found) > 1} == {}


def test_prompts_read_whole(relations: Relations, facts: list[KnownFact]) -> None:
    """Prints each prompt with a subject of each kind and number (`-s`), for a reader; none is rendered twice."""
    shown: set[tuple[str, str, str]] = set()
    for fact in facts:
        relation = relations[fact.relation]
        key = (fact.relation, fact.subject_kind, fact.subject_number)
        if key in shown:
            continue
        shown.add(key)
        print(f"\n[{fact.relation}] {fact.subject_kind} {fact.subject_number}")
        rendered = [
            fact_text(prompt, fact) + f" | {fact.to.in_text}"
            for prompt in prompts(relation.wording(fact.subject_number))
        ]
        print(*rendered, sep="\n")
        assert len(set(rendered)) == len(rendered), fact
    assert {"P50", "P131", "P641", "P462"} <= {name for name, _, _ in shown}


def fact_text(prompt: str, fact: KnownFact) -> str:
    text = prompt.replace("{}", fact.of.in_text)
    return text[0].upper() + text[1:]
