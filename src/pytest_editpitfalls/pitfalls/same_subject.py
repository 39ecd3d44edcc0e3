"""Same subject: what else the model knows of the edited subject stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from pytest_editpitfalls.cases.case import Case, Edit, Fact
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.knowledge import Knowledge, KnownFact
from pytest_editpitfalls.metrics.shared import drift, staying
from pytest_editpitfalls.program import Program

from ._construction import Candidate, Construction, Draw, Group, NoTarget, changed, fact_line, single, tied_relations
from ._one_edit import EDIT_SUCCESS, FACTS, REPLACED, WRITTEN, OneEditRow, edit_probes, probes_of_staying
from ._pitfall import FactWords, Pitfall, divergence, program_of
from ._topics import SPREAD

ASKED = 8
"""Facts of a subject that the model is asked for; a case has up to `MOST` that it holds."""

MOST = 6

SORTS: Mapping[str, str] = MappingProxyType({"others": "other", "related": "related"})
"""Field of a row -> the facts in the program."""


class SameSubjectRow(OneEditRow):
    """One edit, and what else is true of its subject.

    Attributes:
        others: facts of other relations that the edit has no bearing on.
        related: facts that it may change with reason: of a relation that is tied to the edit's, or with its object.
    """

    others: Annotated[tuple[Fact, ...], Field(min_length=1, max_length=100)]
    related: Annotated[tuple[Fact, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _are_of_the_subject(self) -> SameSubjectRow:
        (edit,) = self.edits
        for name in SORTS:
            for place, fact in enumerate(getattr(self, name)):
                if fact.subject != edit.subject:
                    raise RowError(
                        f"{name}.{place}.subject", f"'{fact.subject}' is not edited", f"write '{edit.subject}'"
                    )
                if fact.relation == edit.relation:
                    raise RowError(
                        f"{name}.{place}.relation", f"'{fact.relation}' is edited itself", "take another relation"
                    )
        return self

    def named_facts(self) -> Mapping[str, Fact | Edit]:
        """Return the edit and the other facts."""
        more = {f"{name}.{place}": fact for name in SORTS for place, fact in enumerate(getattr(self, name))}
        return {**super().named_facts(), **more}

    def base_facts(self) -> Iterator[Fact]:
        """Give what the edit replaces, and the other facts."""
        yield from (*super().base_facts(), *self.others, *self.related)

    def held_facts(self) -> Mapping[str, Fact]:
        """Return what the edit replaces, and the other facts."""
        more = {
            f"{fact}:{place}": each for name, fact in SORTS.items() for place, each in enumerate(getattr(self, name))
        }
        return {**super().held_facts(), **more}


class SameSubjectConstruction(Construction):
    """Of each relation with one object a subject: a fact, and one of each other relation of its subject."""

    share = 0

    def groups(self, knowledge: Knowledge) -> Iterator[Group]:
        for relation in knowledge.relations.values():
            if relation.functional:
                yield Group(relation.id, relation.id)

    def candidates(self, knowledge: Knowledge, group: Group) -> Iterator[Candidate]:
        tied = tied_relations(knowledge, group.relation)
        for fact in knowledge.facts(group.relation):
            if not single(knowledge, fact):
                continue
            best: dict[str, KnownFact] = {}
            for each in knowledge.about(fact.of):
                if each.relation != group.relation:
                    best[each.relation] = max(best.get(each.relation, each), each, key=lambda one: one.popularity)
            found = sorted(best.values(), key=lambda each: (_is_related(each, fact, tied), -each.popularity, each.key))
            if found and not _is_related(found[0], fact, tied):
                yield Candidate(group, {"edit1": fact}, {}, some=tuple(found[:ASKED]), most=MOST)

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        fact, tied = candidate.edited, tied_relations(knowledge, candidate.edited.relation)
        others = [each for each in candidate.some if not _is_related(each, fact, tied)]
        if not others:
            raise NoTarget("of the subject's other facts, none that the edit has no bearing on is held")
        new = draw(knowledge.objects(fact.relation), fact)
        return {
            "edits": [changed(knowledge, fact, new)],
            "others": [fact_line(knowledge, each) for each in others],
            "related": [fact_line(knowledge, each) for each in candidate.some if each not in others],
        }


def _is_related(fact: KnownFact, edited: KnownFact, tied: frozenset[str]) -> bool:
    same = fact.key[2] == edited.key[2] and fact.object_kind == edited.object_kind  # "p" is a block, "P" a symbol
    return fact.relation in tied or same


class SameSubject(Pitfall[SameSubjectRow]):
    """Each other fact is asked before and after the edit; what it was before is the control."""

    name = "same_subject"
    question = "Does the model still know what else is true of the edited subject?"
    topic = SPREAD
    row = SameSubjectRow
    facts: ClassVar = MappingProxyType(
        {
            **FACTS,
            "other": FactWords("another fact of the subject", "other facts"),
            "related": FactWords("a fact of the subject that the edit may change", "related facts"),
            "drift": FactWords("what the model says next of the subject's other relations", in_story=False),
        }
    )
    written, replaced = WRITTEN, REPLACED
    metrics = (
        *EDIT_SUCCESS,
        *staying("others", "other", "others", "the other facts of the subject"),
        *staying(
            "related",
            "related",
            "related",
            "the facts of the subject that the edit may change",
            higher_is_better=None,
        ),
        drift(
            "the other facts' rewrite prompts",
            "How far does the edit move what the model says next of the subject, in other relations?",
        ),
    )
    thresholds = ("others_kept >= 0.5",)
    columns = ("es", "ps", "others_kept")
    order = 14
    constructions: ClassVar = MappingProxyType({"same_subject": SameSubjectConstruction()})

    def program(self, case: Case, row: SameSubjectRow) -> Program:
        """Ask for everything before and after the edit."""
        probes = list(edit_probes(case))
        for name, sort in SORTS.items():
            probes += probes_of_staying(case, sort, getattr(row, name))
        prompts = (case.questions(fact)[0] for fact in row.others)
        return program_of(case, row.edits, (*probes, *divergence("drift", prompts, "1")))
