"""One key for all names of a thing: labels of a list and of the facts are the same thing where their keys are equal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from pytest_editpitfalls.knowledge import Knowledge
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
        for fact in knowledge:
            relation = self._relations[fact.relation]
            self._add(fact.subject, fact.subject_aliases, fact.subject_kind, relation.subject_kinds)
            self._add(fact.object, fact.object_aliases, fact.object_kind, relation.object_kinds)

    def subject(self, relation: str, label: str) -> str:
        """Return the key of a subject of a relation; the relation may be unknown."""
        known = self._relations.get(relation)
        return self._key(label, known.subject_kinds if known else ())

    def object(self, relation: str, label: str) -> str:
        """Return the key of an object of a relation; the relation may be unknown."""
        known = self._relations.get(relation)
        return self._key(label, known.object_kinds if known else ())

    def _add(self, label: str, aliases: Iterable[str], kind: str, kinds: Sequence[str]) -> None:
        key = plain(label)
        for each in {_ANY, *((kind,) if kind else kinds)}:
            self._labels[each].add(key)
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
