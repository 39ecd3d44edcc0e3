"""Locality: what is true of other subjects stays, though it is the object that the edit replaces."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from pytest_editpitfalls.cases.case import Case, Edit, Fact
from pytest_editpitfalls.cases.leaks import contains_label
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.knowledge import Knowledge, KnownFact
from pytest_editpitfalls.knowledge.facts import plain
from pytest_editpitfalls.metrics.controls import difference_with_controls, share_with_controls
from pytest_editpitfalls.metrics.metric import NOT_PUBLISHED, Metric
from pytest_editpitfalls.metrics.shared import drift, kept, mean_log_ratio
from pytest_editpitfalls.program import Program

from ._construction import Candidate, Construction, Draw, Group, changed, fact_line, single
from ._one_edit import EDIT_SUCCESS, FACTS, REPLACED, WRITTEN, OneEditRow, edit_probes, probes_of_staying
from ._pitfall import FactWords, Pitfall, divergence, program_of
from ._topics import SPREAD

COUNTERFACT = "Meng et al. 2022 (arXiv:2202.05262), {score}; kmeng01/rome, experiments/summarize.py"

ASKED = 12
"""Neighbours of a fact that the model is asked for."""


class LocalityRow(OneEditRow):
    """One edit, and neighbours: other subjects of its relation that have the object that the edit replaces."""

    neighbours: Annotated[tuple[Fact, ...], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _are_neighbours(self) -> LocalityRow:
        (edit,) = self.edits
        for place, fact in enumerate(self.neighbours):
            if fact.object != edit.object:
                raise RowError(
                    f"neighbours.{place}.object",
                    f"'{fact.object}' makes it no neighbour: the edit replaces '{edit.object}'",
                    f"give a subject whose object is '{edit.object}'",
                )
            if fact.subject == edit.subject:
                raise RowError(
                    f"neighbours.{place}.subject", f"'{fact.subject}' is edited itself", "give another subject"
                )
        return self

    def named_facts(self) -> Mapping[str, Fact | Edit]:
        """Return the edit and the neighbours."""
        return {**super().named_facts(), **{f"neighbours.{place}": fact for place, fact in enumerate(self.neighbours)}}

    def base_facts(self) -> Iterator[Fact]:
        """Give what the edit replaces, and the neighbours."""
        yield from (*super().base_facts(), *self.neighbours)

    def held_facts(self) -> Mapping[str, Fact]:
        """Return what the edit replaces, and the neighbours."""
        return {**super().held_facts(), **{f"neighbour:{place}": fact for place, fact in enumerate(self.neighbours)}}


class LocalityConstruction(Construction):
    """Of each relation with one object a subject: a fact, and others with its object, about as well known as it."""

    share = 0

    def groups(self, knowledge: Knowledge) -> Iterator[Group]:
        for relation in knowledge.relations.values():
            if relation.functional and not relation.inverse_functional:
                yield Group(relation.id, relation.id)

    def candidates(self, knowledge: Knowledge, group: Group) -> Iterator[Candidate]:
        for thing in knowledge.objects(group.relation):
            facts = [fact for fact in knowledge.to(group.relation, thing.label) if single(knowledge, fact)]
            facts.sort(key=lambda fact: (-fact.popularity, fact.subject))
            for place, fact in enumerate(facts):
                if near := nearest(facts, place, ASKED, _share_no_name):
                    yield Candidate(group, {"edit1": fact}, {}, some=near)

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        fact = candidate.edited
        new = draw(knowledge.objects(fact.relation), fact)
        return {
            "edits": [changed(knowledge, fact, new)],
            "neighbours": [fact_line(knowledge, neighbour) for neighbour in candidate.some],
        }


def _share_no_name(one: KnownFact, two: KnownFact) -> bool:
    """Whether neither subject's name is in the other's: what is said of Raleigh is of West Raleigh in other words."""
    return not any(
        contains_label(plain(name), plain(other.subject))
        for fact, other in ((one, two), (two, one))
        for name in fact.of.names
    )


def nearest(
    facts: Sequence[KnownFact], place: int, count: int, fits: Callable[[KnownFact, KnownFact], bool]
) -> tuple[KnownFact, ...]:
    """Return the fitting facts that stand nearest to a place, the nearest first, without the one that stands there."""
    around = (place + sign * step for step in range(1, len(facts)) for sign in (-1, 1))
    found = (facts[each] for each in around if 0 <= each < len(facts))
    return tuple(islice((each for each in found if fits(facts[place], each)), count))


class Locality(Pitfall[LocalityRow]):
    """A neighbour is asked for the object that is true of it, and for the one that the edit writes elsewhere."""

    name = "locality"
    question = "Do other subjects keep the object that the edit replaces, or do they get the edit's as well?"
    topic = SPREAD
    row = LocalityRow
    facts: ClassVar = MappingProxyType(
        {
            **FACTS,
            "neighbour": FactWords("a neighbour: the same object, true of another subject", "neighbours"),
            "neighbour_new": FactWords("the edit's object, of a neighbour", in_story=False),
            "drift": FactWords("what the model says next of the neighbours", in_story=False),
        }
    )
    written, replaced = WRITTEN, REPLACED
    metrics = (
        *EDIT_SUCCESS,
        *share_with_controls(
            "ns",
            "NS",
            "neighbour",
            "neighbour_new",
            what="the neighbours' prompts after which the true object is likelier than the edit's",
            question="Do other subjects keep their own object, or do they get the edit's as well?",
            source=COUNTERFACT.format(score="neighbourhood score"),
            by_prompt=True,
        ),
        *difference_with_controls(
            "nm",
            "NM",
            "neighbour",
            "neighbour_new",
            what="the neighbours",
            question="By how much is what is true of other subjects likelier than the edit's object?",
            source=COUNTERFACT.format(score="neighbourhood magnitude"),
        ),
        Metric(
            name="intact",
            title="intact",
            higher_is_better=True,
            low=0.0,
            high=1.0,
            definition="share of the neighbours with p1 >= 0.9 p0",
            source=NOT_PUBLISHED,
            compute=kept("neighbour"),
            question="How many neighbours keep nine tenths of their probability?",
        ),
        Metric(
            name="neighbours_log_ratio",
            title="ln neighbours",
            higher_is_better=True,
            low=None,
            high=math.inf,
            definition="mean of ln(p1 / p0) over the neighbours",
            source=NOT_PUBLISHED,
            compute=mean_log_ratio("neighbour"),
            question="How much likelier or less likely the neighbours become: -0.7 is half as likely.",
        ),
        drift(
            "the neighbours' rewrite prompts",
            "How far does the edit move what the model says next of other subjects, whatever that is?",
        ),
    )
    thresholds = ("ns_lift >= -0.1", "intact >= 0.5")
    columns = ("es", "ps", "ns", "nm", "intact")
    order = 10
    constructions: ClassVar = MappingProxyType({"locality": LocalityConstruction()})

    def program(self, case: Case, row: LocalityRow) -> Program:
        """Ask for everything before and after the edit."""
        (edit,) = row.edits
        neighbours = probes_of_staying(case, "neighbour", row.neighbours, edit.new_object)
        prompts = (case.questions(fact)[0] for fact in row.neighbours)
        return program_of(case, row.edits, (*edit_probes(case), *neighbours, *divergence("drift", prompts, "1")))
