"""Coverage: the same fact is written twice. A reference rather than a pitfall."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import model_validator

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.knowledge import Knowledge
from pytest_editpitfalls.metrics.metric import PAPER, RELEASED, Metric
from pytest_editpitfalls.metrics.shared import wins
from pytest_editpitfalls.program import Program

from . import _conflict as conflict
from ._construction import Candidate, Draw, SingleFacts, edit
from ._pitfall import Pitfall, program_of
from ._topics import CONFLICT


class CoverageRow(conflict.ConflictRow):
    """e1 = (s, r, o1 -> o2), e2 = (s, r, o2 -> o3)."""

    @model_validator(mode="after")
    def _is_a_conflict(self) -> CoverageRow:
        first, second = self.edits
        conflict.must_equal("edits.1.subject", second.subject, "edits.0.subject", first.subject)
        conflict.must_equal("edits.1.relation", second.relation, "edits.0.relation", first.relation)
        conflict.must_differ("edits.1.new_object", second.new_object, "edits.0.new_object", first.new_object)
        return self


def _check_published(row: conflict.PublishedConflict) -> None:
    first, second = row["edits"]
    if second["subject"] != first["subject"] or second["relation"]["id"] != first["relation"]["id"]:
        raise RowError("edits.1", "its subject or relation is not that of edits.0", "correct the edits")


class CoverageConstruction(SingleFacts):
    """Any fact of a relation with one object a subject. The relation stands for the rule."""

    default = True

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        fact = candidate.edited
        pool = knowledge.objects(fact.relation)
        new = draw(pool, fact)
        newer = draw(pool, fact, unlike=[new])
        return {
            "edits": [
                edit(knowledge, fact.relation, fact.of, old, written, fact.subject_number)
                for old, written in ((fact.to, new), (new, newer))
            ]
        }


class Coverage(Pitfall[CoverageRow]):
    """Edit 2 alone gives the single-edit success. Old and new fact share their prompts, so that CS is CS same."""

    name = "coverage"
    question = "When the same fact is written twice, does the newer one win?"
    topic = CONFLICT
    row = CoverageRow
    facts: ClassVar = conflict.FACTS
    written, replaced = "old", "replaced"
    metrics = (
        *conflict.EDIT_SUCCESS,
        *conflict.edit_2_success("old"),
        Metric(
            name="succ",
            title="Succ",
            higher_is_better=True,
            low=0.0,
            high=1.0,
            definition="single-edit success: p2(o3) > p2(o1) after edit 2 alone",
            source=PAPER.format(section="2.2"),
            compute=wins(("new_exp", "2"), ("replaced", "2")),
            question="Does edit 2 take on its own, against the object that is true?",
            is_binary=True,
        ),
        Metric(
            name="succ_released",
            title="Succ rel.",
            higher_is_better=True,
            low=0.0,
            high=1.0,
            definition="single-edit success, released: p2(o3) > p2(o2) after edit 2 alone",
            source=RELEASED,
            compute=wins(("new_exp", "2"), ("old", "2")),
            question="As Succ, against an object that nobody wrote in that state.",
            is_binary=True,
            released_form_of="succ",
        ),
        *conflict.CS_EXP,
        conflict.CS_GAIN,
        *conflict.CONFLICT_MAGNITUDE,
    )
    thresholds = ("cs_exp >= 1",)
    columns = ("es", "ps", "cs_exp", "cm", "succ", "succ_released")
    order = 3
    published = conflict.figures(
        "coverage",
        ("succ_released", "cs_exp", "cm"),
        {
            ("gpt2-xl", "ft"): (82.56, 78.88, 70.86),
            ("gpt2-xl", "mend"): (98.40, 91.04, 60.01),
            ("gpt2-xl", "rome"): (99.96, 99.76, 96.92),
            ("gpt2-xl", "memit"): (79.24, 83.88, 32.29),
            ("gpt-j", "ft"): (100.0, 100.0, 99.90),
            ("gpt-j", "mend"): (100.0, 95.88, 82.41),
            ("gpt-j", "rome"): (100.0, 99.80, 94.25),
            ("gpt-j", "memit"): (100.0, 99.64, 88.91),
        },
        place=1,
    )
    released_layout = conflict.released_layout(
        {"explicit": "new_exp"}, {"S_pre": ("old", "2"), "S_post": ("new_exp", "2")}
    )
    plots_by_group = ("cs_exp",)
    constructions: ClassVar = MappingProxyType({"coverage": CoverageConstruction()})
    published_file = conflict.published_conflict("coverage", CoverageRow, _check_published)

    def program(self, case: Case, row: CoverageRow) -> Program:
        return program_of(case, row.edits, conflict.conflict_probes(case, replaced_in=("1", "2")))
