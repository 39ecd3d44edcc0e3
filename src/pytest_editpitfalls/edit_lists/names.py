"""One key for all names of a thing: labels of a list and of the facts are the same thing where their keys are equal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from pytest_editpitfalls.knowledge import Knowledge, KnownFact, Thing
from pytest_editpitfalls.knowledge.facts import plain

_ANY = ""
"""Stands for all kinds of things together."""


class Names:
    """The keys of all things that the facts name.

    A name is looked for among the kinds of things that a relation links, then among all things: a label stands for
    itself, an alias for the one thing that has it; an alias of two things stands for itself.
    """

    def __init__(self, knowledge: Knowledge) -> None:
        self._relations = knowledge.relations
        self._labels: dict[str, set[str]] = defaultdict(set)
        self._aliases: dict[tuple[str, str], str | None] = {}
        self._keys: dict[tuple[str, Sequence[str]], str] = {}
        self._named: dict[tuple[str, str], tuple[KnownFact, bool]] = {}  # where a label stands, and whether as subject
        for fact in knowledge:
            relation = self._relations[fact.relation]
            self._add(fact, True, relation.subject_kinds)
            self._add(fact, False, relation.object_kinds)

    def subject(self, relation: str, label: str) -> str:
        """Return the key of a subject of a relation; the relation may be unknown."""
        return self._key(label, self._kinds(relation, True))

    def object(self, relation: str, label: str) -> str:
        """Return the key of an object of a relation; the relation may be unknown."""
        return self._key(label, self._kinds(relation, False))

    def subject_in_text(self, relation: str, label: str) -> Thing:
        """Return a subject as it stands in a sentence: with the article of the facts, where they use its label."""
        return self._in_text(self._kinds(relation, True), label)

    def object_in_text(self, relation: str, label: str) -> Thing:
        """As `subject_in_text`, of an object."""
        return self._in_text(self._kinds(relation, False), label)

    def _kinds(self, relation: str, is_subject: bool) -> Sequence[str]:
        known = self._relations.get(relation)
        return () if known is None else known.subject_kinds if is_subject else known.object_kinds

    def _in_text(self, kinds: Sequence[str], label: str) -> Thing:
        for kind in (*kinds, _ANY):
            if (found := self._named.get((kind, plain(label)))) is not None:
                fact, is_subject = found
                return replace(fact.of if is_subject else fact.to, label=label)
        return Thing(label)

    def _add(self, fact: KnownFact, is_subject: bool, kinds: Sequence[str]) -> None:
        label, aliases, kind, article = (
            (fact.subject, fact.subject_aliases, fact.subject_kind, fact.subject_article)
            if is_subject
            else (fact.object, fact.object_aliases, fact.object_kind, fact.object_article)
        )
        key = plain(label)
        for each in {_ANY, *((kind,) if kind else kinds)}:
            self._labels[each].add(key)
            if article or (each, key) not in self._named:
                self._named[each, key] = fact, is_subject
            for alias in aliases:
                if self._aliases.setdefault((each, plain(alias)), key) != key:
                    self._aliases[each, plain(alias)] = None

    def _key(self, label: str, kinds: Sequence[str]) -> str:
        found = self._keys.get((label, kinds))
        if found is None:
            found = self._keys[label, kinds] = self._look_up(label, kinds)
        return found

    def _look_up(self, label: str, kinds: Sequence[str]) -> str:
        name = plain(label)
        without = name.removeprefix("the ")  # "the United States" in a list, "United States" in the facts
        for spelling in dict.fromkeys((name, without)):
            for kind in (*kinds, _ANY):
                if spelling in self._labels.get(kind, ()):
                    return spelling
                if alias := self._aliases.get((kind, spelling)):
                    return alias
        return without
