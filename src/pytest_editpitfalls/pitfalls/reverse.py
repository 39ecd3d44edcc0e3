"""Reverse: two edits that contradict each other through inverse relations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import model_validator

from pytest_editpitfalls.cases.case import Case, Fact
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.knowledge import Knowledge
from pytest_editpitfalls.program import Program

from . import _conflict as conflict
from ._construction import Candidate, Construction, Draw, Group, allowed, alone, edit, not_plural, single
from ._pitfall import Pitfall, program_of
from ._topics import CONFLICT


class ReverseRow(conflict.ConflictRow):
    """e1 = (s1, r1, o1 -> o2), e2 = (o2, r2, s1 -> s2), where r2 is the inverse of r1."""

    @model_validator(mode="after")
    def _is_a_conflict(self) -> ReverseRow:
        first, second = self.edits
        conflict.must_equal("edits.1.subject", second.subject, "edits.0.new_object", first.new_object)
        conflict.must_differ("edits.1.new_object", second.new_object, "edits.0.subject", first.subject)
        return self

    def base_facts(self) -> Iterator[Fact]:
        """What edit 1 replaces, and its inverse."""
        first, second = self.edits
        yield first.before
        yield Fact(second.relation, first.object, first.subject)


def _check_published(row: conflict.PublishedConflict) -> None:
    first, second = row["edits"]
    if second["subject"] != first["new_object"]:
        raise RowError("edits.1.subject", "it is not edits.0.new_object", "correct the edits")


class ReverseConstruction(Construction):
    """Of each rule between inverse relations: facts that are the only one of their subject and of their object."""

    default = True
    share = 9

    def groups(self, knowledge: Knowledge) -> Iterator[Group]:
        for rule in knowledge.rules:
            if rule.shape == "inverse":
                yield Group(rule.id, rule.first, rule.strength, rule)

    def candidates(self, knowledge: Knowledge, group: Group) -> Iterator[Candidate]:
        for fact in knowledge.facts(group.relation):
            one = fact.subject_number != "plural"  # what edit 2 implies is asked of another subject, in the same words
            if one and allowed(group.rule, fact) and single(knowledge, fact) and alone(knowledge, fact):
                yield Candidate(group, {"edit1": fact}, {})

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        fact, rule = candidate.edited, candidate.group.rule
        assert rule is not None
        new = draw(not_plural(knowledge, rule.second, knowledge.objects(rule.first)), fact)
        theirs = [known.of for known in knowledge.to(rule.first, new.label)]
        theirs += [known.to for known in knowledge.of(rule.second, new.label)]
        inverse = replace(fact.turned, subject=new.label, relation=rule.second)
        # edit 2 writes something else than what was true of the new object before
        other = draw(not_plural(knowledge, rule.first, knowledge.subjects(rule.first)), inverse, unlike=theirs)
        return {
            "edits": [
                edit(knowledge, fact.relation, fact.of, fact.to, new, fact.subject_number),
                edit(knowledge, rule.second, new, fact.of, other),
            ]
        }


class Reverse(Pitfall[ReverseRow]):
    """Implied by e2: (s2, r1, o2); by e1: (o2, r2, s1)."""

    name = "reverse"
    question = "Of two facts that are each other's inverse, does the newer one win, also where it only follows?"
    topic = CONFLICT
    row = ReverseRow
    facts: ClassVar = MappingProxyType({**conflict.FACTS, **conflict.IMPLIED})
    written, replaced = "old", "replaced"
    metrics = (
        *conflict.EDIT_SUCCESS,
        *conflict.edit_2_success("old_imp"),
        *conflict.CS_EXP,
        *conflict.CS_IMP,
        *conflict.CS_SAME,
        conflict.CS_GAIN,
        conflict.CS_GAIN_IMP,
        *conflict.CONFLICT_MAGNITUDE,
    )
    thresholds = ("cs_exp >= 1",)
    columns = ("es", "ps", "cs_exp", "cs_imp", "cm")
    order = 1
    published = conflict.figures(
        "reverse",
        ("cs_exp", "cs_imp", "cm"),
        {
            ("gpt2-xl", "ft"): (80.28, 15.20, 71.11),
            ("gpt2-xl", "mend"): (88.89, 15.32, 60.50),
            ("gpt2-xl", "rome"): (65.92, 0.00, -0.65),
            ("gpt2-xl", "memit"): (51.44, 2.08, -1.60),
            ("gpt-j", "ft"): (99.60, 4.16, 97.20),
            ("gpt-j", "mend"): (88.92, 6.40, 60.72),
            ("gpt-j", "rome"): (56.84, 0.00, 0.06),
            ("gpt-j", "memit"): (55.16, 0.00, -1.18),
        },
        place=2,
        remarks={("reverse", "gpt2-xl", "mend", "cs_exp"): "not a multiple of 1/2500: a misprint or dropped cases"},
    )
    released_layout = conflict.released_layout({"explicit": "new_exp", "implicit": "new_imp"})
    plots_by_group = ("cs_exp", "cs_imp")
    constructions: ClassVar = MappingProxyType({"reverse": ReverseConstruction()})
    published_file = conflict.published_conflict("reverse", ReverseRow, _check_published)

    def program(self, case: Case, row: ReverseRow) -> Program:
        first, second = row.edits
        implied = {
            "new_imp": Fact(first.relation, second.new_object, first.new_object),
            "old_imp": Fact(second.relation, first.new_object, first.subject),
        }
        return program_of(case, row.edits, conflict.conflict_probes(case, implied))
