"""Which facts a case takes for granted in the base model, and what the model may choose among."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from pytest_editpitfalls.cases.case import Fact, HeldFact

MAX_CANDIDATES = 32


class BaseFacts:
    """The facts that a suite file takes as true before any edit, in file order.

    They give the candidates of a `HeldFact`: the distinct objects of its relation, without the ones that are
    true for its subject.
    """

    def __init__(self, facts: Iterable[Fact]) -> None:
        self._objects: dict[str, dict[str, None]] = {}
        self._true: dict[tuple[str, str], set[str]] = {}
        self._first: dict[str, tuple[str, ...]] = {}
        self._short: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._untrue: dict[tuple[str, str], tuple[str, ...]] = {}
        for fact in facts:
            self._objects.setdefault(fact.relation, {})[fact.object] = None
            self._true.setdefault((fact.relation, fact.subject), set()).add(fact.object)

    def true_objects(self, relation: str, subject: str) -> set[str]:
        """Return the objects that the file takes as true for (subject, relation)."""
        return self._true.get((relation, subject), set())

    def held(self, facts: Mapping[str, Fact]) -> tuple[HeldFact, ...]:
        """Return the question for each fact by its name; a fact that has no candidate at all is left out."""
        questions = (HeldFact(name, fact, self._candidates(fact)) for name, fact in facts.items())
        return tuple(question for question in questions if question.candidates)

    def _candidates(self, fact: Fact) -> tuple[str, ...]:
        labels = self._untrue_objects(fact.relation, fact.subject)
        if fact.object in labels:
            labels = tuple(label for label in labels if label != fact.object)
        return labels if len(labels) <= MAX_CANDIDATES else self._shortened(labels)

    def _shortened(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """The first candidates of ``labels``: one tuple for all facts that have the same."""
        return self._short.setdefault(labels, labels[:MAX_CANDIDATES])

    def _untrue_objects(self, relation: str, subject: str) -> tuple[str, ...]:
        """One object more than is needed; looked for once, as the way past the true ones can be long."""
        key = (relation, subject)
        if key not in self._untrue:
            true = self.true_objects(relation, subject)
            first = self._first_objects(relation)
            if true.isdisjoint(first):  # most subjects of a relation share these
                self._untrue[key] = first
            else:
                labels = (label for label in self._objects.get(relation, {}) if label not in true)
                self._untrue[key] = tuple(islice(labels, MAX_CANDIDATES + 1))
        return self._untrue[key]

    def _first_objects(self, relation: str) -> tuple[str, ...]:
        if relation not in self._first:
            self._first[relation] = tuple(islice(self._objects.get(relation, {}), MAX_CANDIDATES + 1))
        return self._first[relation]
