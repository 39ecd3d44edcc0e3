"""How a kind's cases are made of facts and rules: what a kind says, and what the builder does for it.

A kind says which facts a case is made of (`Construction.candidates`) and how they become a row once new objects are
drawn (`Construction.row`). The builder asks the model, draws new objects of the right type, looks for leaks, and keeps
to the quotas.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol

from pytest_editpitfalls.knowledge import Knowledge, KnownFact, KnownRelation, Rule, Thing
from pytest_editpitfalls.knowledge.facts import plain


@dataclass(frozen=True, slots=True)
class Group:
    """What has a quota of its own: a rule, or a relation.

    Attributes:
        name: the rule as cases name it ("P36>P1376").
        relation: of edit 1.
        strength: whether its conflicts are contradictions ("strict") or usually so ("default").
        rule: the rule, where there is one.
    """

    name: str
    relation: str
    strength: Literal["strict", "default"] = "strict"
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """The facts that a case would be made of.

    Attributes:
        group: what it counts for.
        held: the facts that the model has to hold, by their names in the case; the first is what edit 1 replaces.
        others: for each of these, the other true objects of its subject.
        known: further facts that the case takes as true.
        some: further facts, in the order in which they are asked, of which the case has those that the model holds.
            `Construction.row` gets these alone.
        least, most: how many of them a case has; with fewer than ``least`` it is refused.
    """

    group: Group
    held: Mapping[str, KnownFact]
    others: Mapping[str, tuple[KnownFact, ...]]
    known: tuple[KnownFact, ...] = ()
    some: tuple[KnownFact, ...] = ()
    least: int = 1
    most: int = 4

    @property
    def asked(self) -> tuple[KnownFact, ...]:
        """All facts that the model is asked for."""
        return (*self.held.values(), *self.some)

    @property
    def edited(self) -> KnownFact:
        """What edit 1 replaces."""
        return next(iter(self.held.values()))

    @property
    def popularity(self) -> float:
        """Of its least known fact."""
        return min(fact.popularity for fact in self.held.values())

    @property
    def key(self) -> str:
        """What it is about; draws are seeded by it, so that further facts change nothing in it."""
        facts = (f"{fact.relation}|{fact.subject}|{fact.object}" for fact in (*self.held.values(), *self.known))
        return "/".join([self.group.name, *facts])


class Draw(Protocol):
    """Draws new objects; each is of the right type, alike in length, not true, and no near-synonym of what is."""

    def __call__(self, pool: Sequence[Thing], fact: KnownFact, *, unlike: Sequence[Thing] = ()) -> Thing:
        """Return one of ``pool`` that may stand in the object's place of ``fact``.

        Args:
            pool: what is drawn from; things of the object's kind count.
            fact: the fact whose object is replaced.
            unlike: things that it may not be or resemble either.

        Raises:
            NoTarget: nothing is left to draw from.
        """


class NoTarget(Exception):
    """There is nothing left that a new object could be: the case is refused and counted."""


class Construction(ABC):
    """How the cases of one suite are made.

    Attributes:
        default: whether its suite, where it ships, runs in a run that names none.
        share: how many of the facts that several suites could use go to this one, relative to the others. 0: it
            may edit any fact, whichever other suite does.
        half: "near" or "far": only objects on that side of their relation's median closeness to the subject's other
            objects; "": all.
        edits_of_all: where the cases are orders of the same edits, how many different edits the suite has. A fact then
            gets the same new object in every case, which counts once. 0: every case draws its own.
    """

    default: ClassVar[bool] = False
    share: ClassVar[int] = 1
    half: ClassVar[Literal["", "near", "far"]] = ""
    edits_of_all: ClassVar[int] = 0

    @abstractmethod
    def groups(self, knowledge: Knowledge) -> Iterator[Group]:
        """Give the rules or relations that cases can be made of, in the order of the files."""

    @abstractmethod
    def candidates(self, knowledge: Knowledge, group: Group) -> Iterator[Candidate]:
        """Give what cases of a group could be made of, in any order."""

    @abstractmethod
    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        """Return what the line of a case says, without id, rule and strength; raises `NoTarget`."""


class SingleFacts(Construction):
    """Of each relation with one object a subject: every fact. A case is made of that alone."""

    def takes(self, relation: KnownRelation) -> bool:
        """Whether cases are made of a relation with one object a subject."""
        return True

    def groups(self, knowledge: Knowledge) -> Iterator[Group]:
        """Give the relations."""
        for relation in knowledge.relations.values():
            if relation.functional and self.takes(relation):
                yield Group(relation.id, relation.id)

    def candidates(self, knowledge: Knowledge, group: Group) -> Iterator[Candidate]:
        """Give the facts."""
        for fact in knowledge.facts(group.relation):
            if single(knowledge, fact):
                yield Candidate(group, {"edit1": fact}, {})

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        """Return the edit of the fact, to a new object."""
        fact = candidate.edited
        return {"edits": [changed(knowledge, fact, draw(knowledge.objects(fact.relation), fact))]}


def single(knowledge: Knowledge, fact: KnownFact) -> bool:
    """Whether the object is the only known one of its subject and relation."""
    return len(knowledge.of(fact.relation, fact.subject)) == 1


def alone(knowledge: Knowledge, fact: KnownFact) -> bool:
    """Whether the subject is the only known one of its object and relation."""
    return len(knowledge.to(fact.relation, fact.object)) == 1


def allowed(rule: Rule | None, fact: KnownFact, *, middle: bool = False) -> bool:
    """Whether a rule speaks of subjects of this fact's kind, as s or (``middle``) as m; of an unknown kind it does."""
    kinds = () if rule is None else rule.middle_kinds if middle else rule.subject_kinds
    return not kinds or not fact.subject_kind or fact.subject_kind in kinds


def ends(knowledge: Knowledge, rule: Rule) -> Iterator[KnownFact]:
    """Give the facts (m, first, o) that a rule's chains may end with, each the only one of its subject."""
    for fact in knowledge.facts(rule.first):
        if allowed(rule, fact, middle=True) and single(knowledge, fact):
            yield fact


def tied_to(knowledge: Knowledge, rule: Rule, end: KnownFact) -> Iterator[KnownFact]:
    """Give the facts (s, tied, m) that make a chain with an end (m, first, o), each the only one of its subject."""
    assert rule.tied is not None
    for tied in knowledge.to(rule.tied, end.subject):
        if (
            allowed(rule, tied)
            and single(knowledge, tied)
            and tied.to.in_text == end.of.in_text  # a chain of one name: an alias is another question
            and tied.subject != end.object
        ):
            yield tied


def conclusion(
    knowledge: Knowledge, relation: str, tied: KnownFact, end: KnownFact, *, certain: bool
) -> KnownFact | None:
    """Return the fact of a relation that two facts, (s, ., m) and (m, ., o), give: (s, relation, o).

    It is the one that the tables state, or, where they state none of the subject and the rule is ``certain``, one that
    is made of the two. None: neither, or the tables give another object, or several.
    """
    known = knowledge.of(relation, tied.subject)
    if known:
        (fact, *more) = known
        return fact if not more and fact.to.in_text == end.to.in_text and fact.of.in_text == tied.of.in_text else None
    made = replace(
        end,
        subject=tied.subject,
        subject_aliases=tied.subject_aliases,
        subject_kind=tied.subject_kind,
        subject_article=tied.subject_article,
        subject_number=tied.subject_number,
        relation=relation,
        popularity=min(tied.popularity, end.popularity),
    )
    return made if certain else None


def not_plural(knowledge: Knowledge, relation: str, things: Sequence[Thing]) -> list[Thing]:
    """The things that a relation asks about in the singular, as the other subjects of a case are asked."""
    plural = {plain(fact.subject) for fact in knowledge.facts(relation) if fact.subject_number == "plural"}
    return [thing for thing in things if plain(thing.label) not in plural]


def tied_relations(knowledge: Knowledge, relation: str) -> frozenset[str]:
    """Return a relation with all that an edit of it may change: that stand in one rule with it, or `bears_on` names.

    Either relation of a pair may name the other.
    """
    rules = (set(rule.relations().values()) for rule in knowledge.rules)
    pairs = ({each.id, other} for each in knowledge.relations.values() for other in each.bears_on)
    return frozenset({relation}.union(*(named for named in (*rules, *pairs) if relation in named)))


def others_of(knowledge: Knowledge, fact: KnownFact) -> tuple[KnownFact, ...]:
    """Return the other facts of the same subject and relation."""
    return tuple(other for other in knowledge.of(fact.relation, fact.subject) if other.object != fact.object)


def edit(
    knowledge: Knowledge, relation: str, subject: Thing, old: Thing, new: Thing, number: str = ""
) -> dict[str, str]:
    """Return an edit as a line of a suite holds it."""
    return {
        "relation": wording_id(knowledge, relation, number),
        "subject": subject.in_text,
        "object": old.in_text,
        "new_object": new.in_text,
    }


def changed(knowledge: Knowledge, fact: KnownFact, new: Thing) -> dict[str, str]:
    """Return the edit that gives a fact another object, as a line of a suite holds it."""
    return edit(knowledge, fact.relation, fact.of, fact.to, new, fact.subject_number)


def fact_line(knowledge: Knowledge, fact: KnownFact) -> dict[str, str]:
    """Return a fact as a line of a suite holds it."""
    return {
        "relation": wording_id(knowledge, fact.relation, fact.subject_number),
        "subject": fact.of.in_text,
        "object": fact.to.in_text,
    }


PLURAL = "-plural"
"""Ends the id of a relation's table with the wording for subjects in the plural."""


def wording_id(knowledge: Knowledge, relation: str, number: str) -> str:
    """Return the id under which a suite has a relation's wording for subjects in this number."""
    plural = number == "plural" and knowledge.relations[relation].plural is not None
    return relation + PLURAL if plural else relation


def lot(one: KnownFact, other: KnownFact) -> bytes:
    """Return what two facts are drawn together by: a number that only their subjects decide."""
    return hashlib.sha256(f"{plain(one.subject)}/{plain(other.subject)}".encode()).digest()


def is_one_of(thing: Thing, facts: Sequence[KnownFact]) -> bool:
    """Whether a thing is the object of one of the facts, by any name."""
    names = {plain(name) for name in thing.names}
    return any(not names.isdisjoint(map(plain, fact.to.names)) for fact in facts)
