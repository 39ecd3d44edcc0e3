"""One key for all names of a thing: labels of a list and of the facts are the same thing where their keys are equal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace

from pytest_editpitfalls.knowledge import Knowledge, Thing
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
        self._kinds_of: dict[str, set[str]] = defaultdict(set)
        self._things: dict[tuple[str, str], Thing] = {}
        self._keys: dict[tuple[str, bool, str], str] = {}
        seen: set[tuple[object, ...]] = set()
        for fact in knowledge:
            relation = self._relations[fact.relation]
            # most things stand in many facts: each is looked at once
            kinds: Sequence[str] = relation.subject_kinds
            said = (fact.subject, fact.subject_kind or kinds, fact.subject_article, fact.subject_aliases)
            if said not in seen:
                seen.add(said)
                self._add(fact.of, kinds)
            kinds = relation.object_kinds
            said = (fact.object, fact.object_kind or kinds, fact.object_article, fact.object_aliases)
            if said not in seen:
                seen.add(said)
                self._add(fact.to, kinds)

    def subject(self, relation: str, label: str) -> str:
        """Return the key of a subject of a relation; the relation may be unknown."""
        return self._key(relation, True, label)

    def object(self, relation: str, label: str) -> str:
        """Return the key of an object of a relation; the relation may be unknown."""
        return self._key(relation, False, label)

    def subject_in_text(self, relation: str, label: str) -> Thing:
        """Return a subject as it stands in a sentence: with the article of the facts, where they use its label."""
        return self._in_text(self._kinds(relation, True), label)

    def object_in_text(self, relation: str, label: str) -> Thing:
        """As `subject_in_text`, of an object."""
        return self._in_text(self._kinds(relation, False), label)

    def kinds_of(self, key: str) -> Collection[str]:
        """Return the kinds that a thing is known to be of, by its key; nothing where nobody said."""
        return self._kinds_of.get(key, ())

    def _kinds(self, relation: str, is_subject: bool) -> Sequence[str]:
        known = self._relations.get(relation)
        return () if known is None else known.subject_kinds if is_subject else known.object_kinds

    def _in_text(self, kinds: Sequence[str], label: str) -> Thing:
        for kind in (*kinds, _ANY):
            if (found := self._things.get((kind, plain(label)))) is not None:
                return replace(found, label=label)
        return Thing(label)

    def _add(self, thing: Thing, kinds: Sequence[str]) -> None:
        key = plain(thing.label)
        of = (thing.kind,) if thing.kind else kinds
        if len(of) == 1:
            self._kinds_of[key].add(of[0])
        for kind in (_ANY, *of):
            self._labels[kind].add(key)
            if thing.article or (kind, key) not in self._things:
                self._things[kind, key] = thing
            for alias in thing.aliases:
                if self._aliases.setdefault((kind, plain(alias)), key) != key:
                    self._aliases[kind, plain(alias)] = None

    def _key(self, relation: str, is_subject: bool, label: str) -> str:
        asked = (relation, is_subject, label)
        found = self._keys.get(asked)
        if found is None:
            found = self._keys[asked] = self._look_up(label, self._kinds(relation, is_subject))
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
