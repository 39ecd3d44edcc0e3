"""Composite: two edits that contradict each other through a tied fact and a rule."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import model_validator

from pytest_editpitfalls.cases.case import Case, Edit, Fact
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.knowledge import Knowledge
from pytest_editpitfalls.metrics.metric import NOT_PUBLISHED, PAPER, RELEASED, Metric
from pytest_editpitfalls.metrics.shared import log_ratio, relative_loss
from pytest_editpitfalls.program import Program

from . import _conflict as conflict
from ._construction import Candidate, Construction, Draw, Group, edit, ends, is_one_of, tied_to, wording_id
from ._pitfall import FactWords, Pitfall, ask, program_of
from ._topics import CONFLICT


class CompositeRow(conflict.ConflictRow):
    """Tied fact (s, r, s1), e1 = (s1, r1, o1 -> o2), e2 = (s, r2, . -> o3), with the rule r & r1 -> r2.

    Attributes:
        tied: the tied fact.
    """

    tied: Fact

    @model_validator(mode="after")
    def _is_a_conflict(self) -> CompositeRow:
        first, second = self.edits
        conflict.must_equal("tied.object", self.tied.object, "edits.0.subject", first.subject)
        conflict.must_equal("edits.1.subject", second.subject, "tied.subject", self.tied.subject)
        conflict.must_differ("edits.1.new_object", second.new_object, "edits.0.new_object", first.new_object)
        return self

    def named_facts(self) -> Mapping[str, Fact | Edit]:
        """The edits and the tied fact."""
        return {**super().named_facts(), "tied": self.tied}

    def base_facts(self) -> Iterator[Fact]:
        """The tied fact, and what both edits replace."""
        yield self.tied
        yield from (edit.before for edit in self.edits)

    def held_facts(self) -> Mapping[str, Fact]:
        """What edit 1 replaces, and the tied fact. The paper's authors asked for the tied fact alone (section 2.2)."""
        return {**super().held_facts(), "tied": self.tied}


def _check_published(row: conflict.PublishedConflict) -> None:
    (first, second), tied = row["edits"], row["triples"][0]
    if tied["object"] != first["subject"] or tied["subject"] != second["subject"]:
        raise RowError("triples.0", "it does not tie the subjects of the two edits", "correct the triple")


class CompositeConstruction(Construction):
    """Of each composition: a fact (m, first, o), and (s, tied, m) whose conclusion (s, second, o) is not false."""

    default = True
    share = 4

    def groups(self, knowledge: Knowledge) -> Iterator[Group]:
        for rule in knowledge.compositions():
            yield Group(rule.id, rule.first, rule.strength, rule)

    def candidates(self, knowledge: Knowledge, group: Group) -> Iterator[Candidate]:
        rule = group.rule
        assert rule is not None
        for fact in ends(knowledge, rule):
            for tied in tied_to(knowledge, rule, fact):
                conclusions = knowledge.of(rule.second, tied.subject)
                if not conclusions or is_one_of(fact.to, conclusions):
                    yield Candidate(group, {"edit1": fact, "tied": tied}, {})

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        (fact, tied), rule = candidate.held.values(), candidate.group.rule
        assert rule is not None
        pool = knowledge.objects(rule.first)
        # what already is true of s would be no conclusion of edit 1
        new = draw(pool, fact, unlike=[known.to for known in knowledge.of(rule.second, tied.subject)])
        conclusion = replace(fact, subject=tied.subject, subject_aliases=tied.subject_aliases, relation=rule.second)
        newer = draw(pool, conclusion, unlike=[new])
        number = tied.subject_number
        return {
            "edits": [
                edit(knowledge, rule.first, fact.of, fact.to, new, fact.subject_number),
                edit(knowledge, rule.second, tied.of, fact.to, newer, number),
            ],
            "tied": {
                "relation": wording_id(knowledge, tied.relation, number),
                "subject": tied.of.in_text,
                "object": tied.to.in_text,
            },
        }


class Composite(Pitfall[CompositeRow]):
    """Implied by e2: (s1, r1, o3); by e1: (s, r2, o2)."""

    name = "composite"
    question = "Of a fact and one that follows from it and a tied fact, does the newer win, and is the tied fact alive?"
    topic = CONFLICT
    row = CompositeRow
    facts: ClassVar = MappingProxyType(
        {
            **conflict.FACTS,
            **conflict.IMPLIED,
            "replaced_2": FactWords("what edit 2 replaces", in_story=False),
            "tied": FactWords("tied fact: it should survive both edits", "tied fact"),
        }
    )
    written, replaced = "old", "replaced"
    metrics = (
        *conflict.EDIT_SUCCESS,
        *conflict.edit_2_success("replaced_2"),
        *conflict.CS_EXP,
        *conflict.CS_IMP,
        *conflict.CS_SAME,
        conflict.CS_GAIN,
        conflict.CS_GAIN_IMP,
        *conflict.CONFLICT_MAGNITUDE,
        Metric(
            name="tfd",
            title="TFD",
            higher_is_better=False,
            low=None,
            high=1.0,
            definition="tied fact damage, definition: (p1 - p12) / p1 of the tied fact",
            source=PAPER.format(section="2.2"),
            compute=relative_loss("tied", "1", "12"),
            question="How much the fact that ties both edits together loses by edit 2, though nobody edited it.",
        ),
        Metric(
            name="tfd_released",
            title="TFD rel.",
            higher_is_better=False,
            low=None,
            high=1.0,
            definition="tied fact damage, released: (p0 - p12) / p0 of the tied fact",
            source=RELEASED,
            compute=relative_loss("tied", "0", "12"),
            question="As TFD, measured from the model before any edit.",
            released_form_of="tfd",
        ),
        Metric(
            name="tfd_edit1",
            title="TFD edit 1",
            higher_is_better=False,
            low=None,
            high=1.0,
            definition="tied fact damage by edit 1 alone: (p0 - p1) / p0 of the tied fact",
            source=NOT_PUBLISHED,
            compute=relative_loss("tied", "0", "1"),
            question="How much the tied fact loses by edit 1: TFD starts after it, and does not see that.",
        ),
        Metric(
            name="tied_log_ratio",
            title="ln tied",
            higher_is_better=True,
            low=None,
            high=math.inf,
            definition="ln(p12 / p0) of the tied fact, median over its prompts",
            source=NOT_PUBLISHED,
            compute=log_ratio("tied", "0", "12"),
            question="By which factor the tied fact changed by both edits, as a logarithm: 0 not at all, -2.3 a tenth.",
        ),
        Metric(
            name="tied_log_ratio_edit1",
            title="ln tied, edit 1",
            higher_is_better=True,
            low=None,
            high=math.inf,
            definition="ln(p1 / p0) of the tied fact, median over its prompts",
            source=NOT_PUBLISHED,
            compute=log_ratio("tied", "0", "1"),
            question="The same by edit 1 alone.",
        ),
    )
    thresholds = ("cs_exp >= 1", "tfd <= 0.5")
    columns = ("es", "ps", "cs_exp", "cs_imp", "cm", "tfd", "tfd_released")
    order = 2
    published = conflict.figures(
        "composite",
        ("cs_exp", "cs_imp", "cm", "tfd_released"),
        {
            ("gpt2-xl", "ft"): (75.45, 57.65, 64.28, 88.75),
            ("gpt2-xl", "mend"): (84.85, 81.35, 43.45, 72.09),
            ("gpt2-xl", "rome"): (71.70, 38.70, 37.04, 69.55),
            ("gpt2-xl", "memit"): (57.15, 29.40, -1.50, 24.63),
            ("gpt-j", "ft"): (96.68, 88.92, 88.98, 89.97),
            ("gpt-j", "mend"): (83.04, 73.52, 63.99, 42.95),
            ("gpt-j", "rome"): (77.60, 29.24, 39.27, 81.02),
            ("gpt-j", "memit"): (75.48, 49.28, 28.78, 64.51),
        },
        place=3,
        cases={("composite", "gpt2-xl"): 2000},
    )
    released_layout = conflict.released_layout(
        {"explicit": "new_exp", "implicit": "new_imp"},
        {
            "fact_0": ("tied", "0"),
            "fact_1": ("tied", "1"),
            "fact_2": ("tied", "12"),
            "fact_o": ("tied", "2"),
        },
    )
    plots_by_group = ("cs_exp", "cs_imp")
    constructions: ClassVar = MappingProxyType({"composite": CompositeConstruction()})
    published_file = conflict.published_conflict("composite", CompositeRow, _check_published, tied=True)

    def program(self, case: Case, row: CompositeRow) -> Program:
        first, second = row.edits
        implied = {
            "new_imp": Fact(first.relation, first.subject, second.new_object),
            "old_imp": Fact(second.relation, second.subject, first.new_object),
        }
        probes = conflict.conflict_probes(case, implied) + conflict.replaced_by_edit_2(case)
        probes += ask(case, "tied", row.tied, "0", "1", "12", "2")
        return program_of(case, row.edits, probes)
