"""What kinds share that edit one of several true objects: their rows, how these are made, and what metrics read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from pytest_editpitfalls.cases.case import Edit, Fact, Row
from pytest_editpitfalls.cases.labels import Label
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.files import MAX_TRUE_OBJECTS
from pytest_editpitfalls.knowledge import Knowledge
from pytest_editpitfalls.metrics.metric import FactProbabilities

from ._construction import Candidate, Construction, Draw, Group, changed, others_of

MOST_OBJECTS = 10
"""Subjects with more true objects are no case that is built: too many to be known one by one."""

SYNONYMS = frozenset(("P5974",))
"""Relations of the tables that ship whose several objects say one thing: the opposites of a word."""

Labels = Annotated[tuple[Label, ...], Field(max_length=MAX_TRUE_OBJECTS)]


class SeveralRow(Row):
    """One edit of a subject and relation with several true objects.

    Attributes:
        edits: the edit; its object is one of them.
        others: further true objects, which the model holds.
        also_true: true objects that it need not hold.
    """

    edits: tuple[Edit]
    others: Annotated[Labels, Field(min_length=1)]
    also_true: Labels = ()

    @model_validator(mode="after")
    def _names_each_once(self) -> SeveralRow:
        seen = {self.edits[0].object, self.edits[0].new_object}
        for name in self.lists():
            for place, label in enumerate(getattr(self, name)):
                if label in seen:
                    raise RowError(f"{name}.{place}", f"'{label}' is named twice in the case", "name each object once")
                seen.add(label)
        return self

    def lists(self) -> tuple[str, ...]:
        """Return the fields with objects beside the edit's."""
        return ("others", "also_true")

    def about(self, label: str) -> Fact:
        """Return the fact that the edit's subject has this object."""
        return Fact(self.edits[0].relation, self.edits[0].subject, label)

    def base_facts(self) -> Iterator[Fact]:
        """Give all true objects."""
        yield from map(self.about, (self.edits[0].object, *self.others, *self.also_true))

    def held_facts(self) -> Mapping[str, Fact]:
        """Return what the edit replaces, and the others."""
        return {
            **super().held_facts(),
            **{f"other:{place}": self.about(label) for place, label in enumerate(self.others)},
        }


def probabilities(p: FactProbabilities, names: tuple[str, ...], state: str) -> list[float] | None:
    """Return p of all facts of these names ("other" stands for "other:0", ...), in one order for all states.

    None where there is none, or one is unknown.
    """
    facts = sorted({fact for fact, _ in p if fact.partition(":")[0] in names})
    known = [p[fact, state] for fact in facts if (fact, state) in p]
    return known if known and len(known) == len(facts) else None


class OneOfSeveral(Construction):
    """Of each relation with several objects a subject: one object of subjects that have two to ten."""

    def groups(self, knowledge: Knowledge) -> Iterator[Group]:
        for relation in knowledge.relations.values():
            if not relation.functional:
                yield Group(f"1-N@{relation.id}", relation.id)

    def candidates(self, knowledge: Knowledge, group: Group) -> Iterator[Candidate]:
        for fact in knowledge.facts(group.relation):
            others = others_of(knowledge, fact)
            if 1 <= len(others) < MOST_OBJECTS:
                yield Candidate(group, {"edit1": fact}, {"edit1": others})


class SeveralConstruction(OneOfSeveral):
    """As `OneOfSeveral`, where the model holds another of the objects as well."""

    share: ClassVar[int] = 0
    left_out: ClassVar[frozenset[str]] = SYNONYMS

    def groups(self, knowledge: Knowledge) -> Iterator[Group]:
        for group in super().groups(knowledge):
            if group.relation not in self.left_out:
                yield group

    def candidates(self, knowledge: Knowledge, group: Group) -> Iterator[Candidate]:
        for candidate in super().candidates(knowledge, group):
            yield replace(candidate, some=candidate.others["edit1"], least=1, most=MOST_OBJECTS)

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        fact = candidate.edited
        held = [other.to.in_text for other in candidate.some]
        true = [known.to for known in knowledge.of(fact.relation, fact.subject)]
        new = draw(knowledge.objects(fact.relation), fact, unlike=true)
        return {
            "edits": [changed(knowledge, fact, new)],
            "others": held,
            "also_true": [thing.in_text for thing in true if thing.in_text not in (fact.to.in_text, *held)],
        }
