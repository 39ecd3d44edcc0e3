"""Which edits of known facts the cases of `ripple` are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_editpitfalls.knowledge import Knowledge, KnownFact, Rule, Thing
from pytest_editpitfalls.knowledge.facts import plain

from ._construction import (
    Candidate,
    Construction,
    Draw,
    Group,
    allowed,
    changed,
    conclusion,
    ends,
    fact_line,
    is_one_of,
    lot,
    single,
    tied_to,
)

MOST_NEW_OBJECTS = 4
"""New objects that are tried for one fact where the conclusion is about the new object (compositionality I)."""

WELL_KNOWN = 48
"""New objects are drawn from so many that are best known: of these the model holds what the conclusion rests on."""

MOST_ALIASES = 2

MOST_OTHERS = 3
"""Other facts of the subject that a built case has."""


class RippleConstruction(Construction):
    """Of each composition: edits of its second premise, and edits of its first, whose new object something is known of.

    The model holds the premise and what followed from it before the edit. Where the facts give them, and what was true
    before is held, aliases of the subject, the inverse of the edit and further facts of the subject are asked as well.
    """

    share = 0

    def groups(self, knowledge: Knowledge) -> Iterator[Group]:
        for rule in knowledge.compositions():
            if knowledge.objects(rule.second):
                yield Group(rule.id, rule.first, rule.strength, rule)
        for rule in knowledge.compositions():
            if rule.tied is not None and rule.tied != rule.first and knowledge.objects(rule.second):
                yield Group(f"{rule.id} of the new object", rule.tied, rule.strength, rule)

    def candidates(self, knowledge: Knowledge, group: Group) -> Iterator[Candidate]:
        rule = group.rule
        assert rule is not None
        if group.relation == rule.first:
            yield from self._backward(knowledge, group, rule)
        else:
            yield from self._onward(knowledge, group, rule)

    def _backward(self, knowledge: Knowledge, group: Group, rule: Rule) -> Iterator[Candidate]:
        """Edits of (m, first, o), with (s, tied, m) as premise: the conclusion (s, second, .) follows the edit."""
        for fact in ends(knowledge, rule):
            aliases, others = _aliases(knowledge, fact), _others(knowledge, fact)
            for tied in tied_to(knowledge, rule, fact):
                old = conclusion(knowledge, rule.second, tied, fact, certain=rule.strength == "strict")
                if old is not None:
                    held = {"edit1": fact, "premise:0": tied, "backward_old:0": old}
                    yield _candidate(group, held, aliases, others)

    def _onward(self, knowledge: Knowledge, group: Group, rule: Rule) -> Iterator[Candidate]:
        """Edits of (s, tied, m) to an m* with (m*, first, x) as premise: the conclusion (s, second, x) follows."""
        assert rule.tied is not None
        objects = {thing.in_text for thing in knowledge.objects(rule.tied)}
        premises = [fact for fact in ends(knowledge, rule) if fact.of.in_text in objects]
        premises = sorted(premises, key=lambda fact: -fact.popularity)[:WELL_KNOWN]
        for fact in knowledge.facts(rule.tied):
            before = knowledge.of(rule.first, fact.object)
            if not allowed(rule, fact) or not single(knowledge, fact) or len(before) != 1:
                continue
            old = conclusion(knowledge, rule.second, fact, before[0], certain=rule.strength == "strict")
            if old is None:
                continue
            fitting = [
                premise
                for premise in premises
                if not is_one_of(premise.to, before) and plain(premise.subject) != plain(fact.object)
            ]
            aliases, others = _aliases(knowledge, fact), _others(knowledge, fact)
            for premise in sorted(fitting, key=lambda each: lot(fact, each))[:MOST_NEW_OBJECTS]:
                held = {"edit1": fact, "premise:0": premise, "onward_old:0": old}
                yield _candidate(group, held, (*aliases, *_turned(knowledge, fact, premise.of)), others)

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        (fact, premise, old), rule = candidate.held.values(), candidate.group.rule
        assert rule is not None
        if fact.relation == rule.first:
            # what already is true of the other subject would be no conclusion
            known = knowledge.of(rule.second, premise.subject)
            new = draw(knowledge.objects(rule.first), fact, unlike=[each.to for each in known])
            more = {"backward": [changed(knowledge, old, new)]}
        else:
            pool = [thing for thing in knowledge.objects(fact.relation) if thing.in_text == premise.of.in_text]
            new = draw(pool, fact)
            more = {"onward": [changed(knowledge, old, premise.to)]}
        inverses = {relation for _, relation in knowledge.inverses(fact.relation)}
        aliases = [each for each in candidate.some if (each.relation, each.object) == (fact.relation, fact.object)]
        turned = [each for each in candidate.some if each.relation in inverses and each not in aliases]
        others = [each for each in candidate.some if each not in aliases and each not in turned]
        others = [each for each in others if not _is_true(knowledge, each, new)]
        return {
            "edits": [changed(knowledge, fact, new)],
            "premises": [fact_line(knowledge, premise)],
            "aliases": [changed(knowledge, each, new) for each in aliases],
            "logical": [changed(knowledge, each, fact.of) for each in turned],
            **more,
            "others": [fact_line(knowledge, each) for each in others[:MOST_OTHERS]],
        }


def _candidate(
    group: Group, held: Mapping[str, KnownFact], following: Sequence[KnownFact], others: Sequence[KnownFact]
) -> Candidate:
    """A case of what is held, with what was true before in place of other conclusions, and other facts."""
    most = len(following) + MOST_OTHERS
    return Candidate(group, held, {}, (), (*following, *others), least=0, most=most)


def _others(knowledge: Knowledge, fact: KnownFact) -> tuple[KnownFact, ...]:
    """Facts of the subject that the edit has no bearing on, the best known first.

    Left out are relations that a rule ties to the edit's, and facts with the object that it replaces: where a city's
    country is edited, its location is not another question.
    """
    touched = {fact.relation, *(other for _, other in knowledge.inverses(fact.relation))}
    for rule in knowledge.compositions():
        named = {rule.first, rule.second, rule.tied}
        if fact.relation in named:
            touched |= {name for name in named if name is not None}
    found = [
        known[0]
        for relation in knowledge.relations.values()
        if relation.id not in touched
        and len(known := knowledge.of(relation.id, fact.subject)) == 1
        and not is_one_of(fact.to, known)
    ]
    return tuple(sorted(found, key=lambda each: -each.popularity))


def _is_true(knowledge: Knowledge, fact: KnownFact, thing: Thing) -> bool:
    """Whether a thing is a true answer to the question of a fact as well."""
    return is_one_of(thing, knowledge.of(fact.relation, fact.subject))


def _aliases(knowledge: Knowledge, fact: KnownFact) -> tuple[KnownFact, ...]:
    """The fact under other names of its subject: such as are nobody else's, and no part of the label."""
    label = plain(fact.subject)
    fitting = [
        alias
        for alias in fact.subject_aliases
        if len(alias) > 3  # shorter ones are codes
        and plain(alias) not in label
        and label not in plain(alias)
        and [known.key for known in knowledge.of(fact.relation, alias)] == [fact.key]
    ]
    return tuple(
        replace(fact, subject=alias, subject_aliases=(), subject_article="") for alias in fitting[:MOST_ALIASES]
    )


def _turned(knowledge: Knowledge, fact: KnownFact, new: Thing) -> tuple[KnownFact, ...]:
    """What is true of a new object the other way round, by strict rules, and gives way to the subject of the edit.

    Two rules may lead to one relation, one for each direction: what follows is one conclusion.
    """
    strict = (other for rule, other in knowledge.inverses(fact.relation) if rule.strength == "strict")
    found = (knowledge.of(other, new.label) for other in dict.fromkeys(strict))
    return tuple(known[0] for known in found if len(known) == 1 and not is_one_of(fact.of, known))
