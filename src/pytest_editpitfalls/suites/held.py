"""Which facts a case takes for granted in the base model, and what the model may choose among."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType

from pytest_editpitfalls.cases.case import Fact, HeldFact
from pytest_editpitfalls.program import Score

MAX_CANDIDATES = 32


@dataclass(frozen=True, slots=True)
class RelationObjects:
    """Everything that competes for the object of one relation.

    Attributes:
        labels: all of them, in file order.
        true: subject -> the ones that are true for it.
    """

    labels: tuple[str, ...]
    true: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeldTerms:
    """When a suite says that the base model holds a fact.

    Attributes:
        scores: the scores by which the object has to win.
        share: of the relation's paraphrases, on which it has to win.
        objects: relation -> what competes; a relation that is not here is asked with the file's own objects.
    """

    scores: tuple[Score, ...] = ("mean",)
    share: float = 0.0
    objects: Mapping[str, RelationObjects] = field(default_factory=dict)


class BaseFacts:
    """The facts that a suite file takes as true before any edit, in file order.

    They give the candidates of a `HeldFact`: the distinct objects of its relation, without the ones that are
    true for its subject. Where a suite lists all objects of a relation, these are the candidates.

    Args:
        facts: the facts.
        bases: relation -> the relation that it is a variant of; the two have the same objects.
        terms: when a fact is held.
    """

    def __init__(
        self,
        facts: Iterable[Fact],
        bases: Mapping[str, str] = MappingProxyType({}),
        terms: HeldTerms = HeldTerms(),
    ) -> None:
        self._bases, self._terms = bases, terms
        self._objects: dict[str, dict[str, None]] = {}
        self._true: dict[tuple[str, str], set[str]] = {}
        self._first: dict[str, tuple[str, ...]] = {}
        self._short: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._untrue: dict[tuple[str, str], tuple[str, ...]] = {}
        for fact in facts:
            relation = self._base(fact.relation)
            self._objects.setdefault(relation, {})[fact.object] = None
            self._true.setdefault((relation, fact.subject), set()).add(fact.object)

    def true_objects(self, relation: str, subject: str) -> set[str]:
        """Return the objects that the file takes as true for (subject, relation)."""
        return self._true.get((self._base(relation), subject), set())

    def held(self, facts: Mapping[str, Fact]) -> tuple[HeldFact, ...]:
        """Return the question for each fact by its name; a fact that has no candidate at all is left out."""
        questions = (self._question(name, fact) for name, fact in facts.items())
        return tuple(question for question in questions if question.candidates)

    def _question(self, name: str, fact: Fact) -> HeldFact:
        terms = self._terms
        listed = terms.objects.get(self._base(fact.relation))
        if listed is None:
            return HeldFact(name, fact, self._candidates(fact), terms.scores, terms.share)
        true = self.true_objects(fact.relation, fact.subject) | listed.true.get(fact.subject, frozenset())
        not_rivals = tuple(sorted(true - {fact.object}))
        return HeldFact(name, fact, listed.labels, terms.scores, terms.share, not_rivals)

    def is_listed(self, relation: str) -> bool:
        """Whether the suite lists what competes in a relation, or lists nothing for any relation."""
        return not self._terms.objects or self._base(relation) in self._terms.objects

    def _base(self, relation: str) -> str:
        return self._bases.get(relation, relation)

    def _candidates(self, fact: Fact) -> tuple[str, ...]:
        labels = self._untrue_objects(self._base(fact.relation), fact.subject)
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
