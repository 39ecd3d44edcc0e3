"""What is true after all edits of a list: the edits, and the facts that they leave."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from pytest_editpitfalls.knowledge import Knowledge, KnownFact, KnownRelation, Rule, Thing
from pytest_editpitfalls.knowledge.facts import plain

from .names import Names
from .planned import EditList, PlannedEdit
from .wording import normalised

Severity = Literal["conflict", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("conflict", "warning", "note")
"""The gravest first. A conflict cannot all be true; a warning may well be meant; a note is good to know."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """The relation that says a relation the other way round.

    Attributes:
        relation: the other relation; a symmetric relation is its own.
        severity: how grave it is where the two sides do not agree.
        rule: id of the rule, or "" where the relation itself is symmetric.
    """

    relation: KnownRelation
    severity: Severity
    rule: str


@dataclass(frozen=True, slots=True)
class Now:
    """An object that a subject has after all edits: by an edit, or by a fact that stays.

    Attributes:
        key: the object's key.
        thing: the object, as the edit or the fact calls it.
        edit: the edit that writes it, or None.
        fact: the fact that stays, or None.
    """

    key: str
    thing: Thing
    edit: PlannedEdit | None = None
    fact: KnownFact | None = None


class World:
    """Edits and facts, found by the things that they are about, whatever name these go by."""

    def __init__(self, edits: EditList, knowledge: Knowledge) -> None:
        self.list = edits
        self.knowledge = knowledge
        self.names = Names(knowledge)
        self._of: dict[tuple[str, str], list[PlannedEdit]] = defaultdict(list)
        self._to: dict[tuple[str, str], list[PlannedEdit]] = defaultdict(list)
        self._mirrors: dict[str, tuple[Mirror, ...]] = {}
        self._turned: dict[str, list[str]] = {}
        self._ranked: dict[str, Sequence[KnownFact]] = {}
        self._facts_of: dict[tuple[str, str], tuple[KnownFact, ...]] = {}
        self._facts_to: dict[tuple[str, str], tuple[KnownFact, ...]] = {}
        self.tied: dict[tuple[str, str, str], tuple[KnownFact, ...]] = {}  # what `following` has found already
        for edit in edits.edits:
            self._of[slot(edit), self.subject(edit)].append(edit)
            self._to[slot(edit), self.target(edit)].append(edit)

    def subject(self, edit: PlannedEdit) -> str:
        return self.names.subject(edit.relation, edit.subject)

    def target(self, edit: PlannedEdit) -> str:
        return self.names.object(edit.relation, edit.target_new)

    def replaced(self, edit: PlannedEdit) -> str:
        """Return the key of what the list says the edit replaces, or ""."""
        return self.names.object(edit.relation, edit.target_true) if edit.target_true else ""

    def relation(self, edit: PlannedEdit) -> KnownRelation | None:
        return self.knowledge.relations.get(edit.relation)

    def slots(self) -> Iterator[Sequence[PlannedEdit]]:
        """Give the edits of each subject and relation, in file order."""
        yield from self._of.values()

    @cached_property
    def known(self) -> Sequence[tuple[PlannedEdit, KnownRelation, str, str]]:
        """Each edit of a known relation, with its relation and the keys of its subject and new object."""
        return [
            (edit, relation, self.subject(edit), self.target(edit))
            for edit in self.list.edits
            if (relation := self.relation(edit)) is not None
        ]

    def edits_of(self, relation: str, subject: str) -> Sequence[PlannedEdit]:
        """Return the edits of a relation's subject, by its key."""
        return self._of.get((relation, subject), ())

    def edits_to(self, relation: str, object_: str) -> Sequence[PlannedEdit]:
        """Return the edits that give this object, by its key."""
        return self._to.get((relation, object_), ())

    def object_of(self, fact: KnownFact) -> str:
        return plain(fact.object)  # a label of the facts stands for itself

    def subject_of(self, fact: KnownFact) -> str:
        return plain(fact.subject)

    def facts_of(self, relation: str, subject: str) -> tuple[KnownFact, ...]:
        """Return what is true of a subject, by its key: known facts, and facts known the other way round."""
        found = self._facts_of.get((relation, subject))
        if found is None:
            facts = {self.object_of(fact): fact for fact in self.knowledge.of(relation, subject)}
            for mirror in self._known_mirrors(relation):
                for fact in self.knowledge.to(mirror, subject):
                    facts.setdefault(self.subject_of(fact), replace(fact.turned, relation=relation))
            found = self._facts_of[relation, subject] = tuple(facts.values())
        return found

    def facts_to(self, relation: str, object_: str) -> tuple[KnownFact, ...]:
        """Return the facts with this object, by its key; as `facts_of`."""
        found = self._facts_to.get((relation, object_))
        if found is None:
            facts = {self.subject_of(fact): fact for fact in self.knowledge.to(relation, object_)}
            for mirror in self._known_mirrors(relation):
                for fact in self.knowledge.of(mirror, object_):
                    facts.setdefault(self.object_of(fact), replace(fact.turned, relation=relation))
            found = self._facts_to[relation, object_] = tuple(facts.values())
        return found

    def facts_at(self, edit: PlannedEdit) -> tuple[KnownFact, ...]:
        """Return what is true of an edit's subject and relation; nothing where its relation is not known."""
        return self.facts_of(edit.relation, self.subject(edit)) if edit.relation else ()

    def fact_words(self, fact: KnownFact) -> str:
        return said(fact.subject, self.knowledge.relations[fact.relation].label, fact.object)

    @cached_property
    def compositions(self) -> Mapping[tuple[str, str], Sequence[Rule]]:
        """The compositions by the part that a relation plays in them ("first", "second", "tied")."""
        found: dict[tuple[str, str], list[Rule]] = defaultdict(list)
        for rule in self.knowledge.compositions():
            for part, relation in rule.relations().items():
                found[part, relation].append(rule)
        return found

    def _known_mirrors(self, relation: str) -> list[str]:
        """Return the relations whose facts are facts of this one turned round: by a rule that is strict one way."""
        found = self._turned.get(relation)
        if found is not None:
            return found
        strict = [relation] if self.knowledge.relations[relation].symmetric else []
        strict += [other for rule, other in self.knowledge.inverses(relation) if rule.strength == "strict"]
        found = self._turned[relation] = list(dict.fromkeys(strict))
        return found

    def mirrors(self, relation: str) -> tuple[Mirror, ...]:
        """Return what says a relation the other way round, each relation once.

        A rule counts from its first relation to its second; where no rule goes that way, the one back stands for it.
        """
        found = self._mirrors.get(relation)
        if found is None:
            known = self.knowledge.relations[relation]
            made = {relation: Mirror(known, "conflict", "")} if known.symmetric else {}
            rules = sorted(self.knowledge.inverses(relation), key=lambda each: each[0].first != relation)
            for rule, other in rules:
                made.setdefault(other, Mirror(self.knowledge.relations[other], severity_of(rule), rule.id))
            found = self._mirrors[relation] = tuple(made.values())
        return found

    def undone_by(self, fact: KnownFact) -> Sequence[PlannedEdit]:
        """Return the edits that replace a fact, or what says it the other way round; none: the fact stays.

        An edit of a relation in which a subject has several objects replaces the one that the list names. Where it
        names none, nobody knows which one is replaced: none of them counts as a fact that stays.
        """
        subject, object_ = self.subject_of(fact), self.object_of(fact)
        found = self._replacing(self.knowledge.relations[fact.relation], subject, object_)
        for mirror in self.mirrors(fact.relation):
            if mirror.severity == "conflict":
                found += self._replacing(mirror.relation, object_, subject)
        return found

    def stays(self, fact: KnownFact) -> bool:
        return not self.undone_by(fact)

    def replaced_facts(self, edit: PlannedEdit) -> list[KnownFact]:
        """Return the known facts that an edit replaces: the stated one, else all where there can be only one."""
        relation = self.knowledge.relations[edit.relation]
        facts = self.facts_of(edit.relation, self.subject(edit))
        stated, target = self.replaced(edit), self.target(edit)
        if any(self.object_of(fact) == target for fact in facts):
            return []  # it is true already
        if stated and any(self.object_of(fact) == stated for fact in facts):
            return [fact for fact in facts if self.object_of(fact) == stated]
        return list(facts) if relation.functional or len(facts) == 1 else []

    def now(self, relation: str, subject: str) -> list[Now]:
        """Return the objects that a subject has after all edits."""
        found = [
            Now(self.target(edit), self.names.object_in_text(relation, edit.target_new), edit=edit)
            for edit in self.edits_of(relation, subject)
        ]
        found += [
            Now(self.object_of(fact), fact.to, fact=fact)
            for fact in self.facts_of(relation, subject)
            if self.stays(fact)
        ]
        return found

    def fits(self, rule: Rule, subject: str, middle: str) -> bool:
        """Whether a composition may speak of these things; a kind that nobody said fits."""
        return self._is_of(subject, rule.subject_kinds) and self._is_of(middle, rule.middle_kinds)

    def _is_of(self, thing: str, kinds: Sequence[str]) -> bool:
        known = self.names.kinds_of(thing) if kinds else ()
        return not known or any(kind in known for kind in kinds)

    def neighbours(self, relation: str) -> Sequence[KnownFact]:
        """Return the facts of a relation, the best known first."""
        found = self._ranked.get(relation)
        if found is None:
            facts = self.knowledge.facts(relation)
            found = self._ranked[relation] = sorted(facts, key=lambda fact: (-fact.popularity, fact.subject))
        return found

    def _replacing(self, relation: KnownRelation, subject: str, object_: str) -> list[PlannedEdit]:
        return [
            edit
            for edit in self.edits_of(relation.id, subject)
            if self.target(edit) != object_ and (relation.functional or self.replaced(edit) in ("", object_))
        ]


def slot(edit: PlannedEdit) -> str:
    """Return what an edit changes of its subject: its relation, or its prompt where no relation is known."""
    return edit.relation or normalised(edit.prompt)


def words(world: World, edit: PlannedEdit) -> str:
    """Return what an edit writes, in few words; by its prompt where no relation is known."""
    relation = world.relation(edit)
    return said(edit.subject, relation.label if relation else edit.prompt, edit.target_new)


def severity_of(rule: Rule) -> Severity:
    """Return how grave it is where something is not as a rule says."""
    return "conflict" if rule.strength == "strict" else "warning"


def said(subject: str, relation: str, object_: str) -> str:
    """Return a fact in few words."""
    return f"{subject} ({relation}): {object_}"
