"""Coverage: the same fact is written twice. A reference rather than a pitfall."""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar

from pydantic import model_validator

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.metrics.metric import RELEASED, Metric
from pytest_editpitfalls.metrics.shared import wins
from pytest_editpitfalls.program import Program

from . import _conflict as conflict
from ._pitfall import FactWords, Pitfall, ask, program_of


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


class Coverage(Pitfall[CoverageRow]):
    """Edit 2 alone gives the single-edit success."""

    name = "coverage"
    question = "When the same fact is written twice, does the newer one win?"
    topic = conflict.CONFLICT
    row = CoverageRow
    facts: ClassVar = MappingProxyType(
        {
            **conflict.FACTS,
            "single_old": FactWords("what edit 1 would write, edit 1 not made"),
            "single_new": FactWords("what edit 2 writes, on its own"),
        }
    )
    written, replaced = "old", "replaced"
    metrics = (
        *conflict.EDIT_SUCCESS,
        Metric(
            name="succ",
            title="Succ",
            higher_is_better=True,
            low=0.0,
            high=1.0,
            definition="p2(o3) > p2(o2) after edit 2 alone",
            source=RELEASED,
            compute=wins(("single_new", "2"), ("single_old", "2")),
            question="Does edit 2 take on its own?",
            is_binary=True,
        ),
        conflict.CS_EXP,
        *conflict.CONFLICT_MAGNITUDE,
    )
    thresholds = ("cs_exp >= 1",)
    columns = ("es", "ps", "cs_exp", "cm", "succ")
    order = 3
    published = conflict.figures(
        "coverage",
        ("succ", "cs_exp", "cm"),
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
        {"explicit": "new_exp"}, {"S_pre": ("single_old", "2"), "S_post": ("single_new", "2")}
    )
    plots_by_group = ("cs_exp",)
    published_file = conflict.published_conflict("coverage", CoverageRow, _check_published)

    def program(self, case: Case, row: CoverageRow) -> Program:
        first, second = row.edits
        probes = conflict.conflict_probes(case, None)
        probes += ask(case, "single_old", first.after, "2") + ask(case, "single_new", second.after, "2")
        return program_of(case, row.edits, probes)
