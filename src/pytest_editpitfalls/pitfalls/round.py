"""Round: a fact is edited and edited back; are the other true objects of the subject still known?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator
from typing_extensions import TypedDict

from pytest_editpitfalls.cases.case import Case, Edit, Fact, Row
from pytest_editpitfalls.cases.labels import Label
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.files import MAX_TRUE_OBJECTS
from pytest_editpitfalls.knowledge import Knowledge
from pytest_editpitfalls.metrics.metric import NOT_PUBLISHED, PAPER, RELEASED, Compute, FactProbabilities, Metric
from pytest_editpitfalls.metrics.shared import edit_success, jensen_shannon, wins
from pytest_editpitfalls.program import Program

from ._construction import Candidate, Draw, edit
from ._pitfall import FactWords, Pitfall, PlotByFacts, PublishedFigures, ask, program_of
from ._published_files import (
    CITATION,
    CITED_AS,
    Entity,
    PublishedEdit,
    PublishedFile,
    Text,
    edit_of,
    fact_of,
    rows_of,
)
from ._released_layout import Fields, Numbered, ReleasedFile, ReleasedLayout
from ._several import OneOfSeveral
from ._topics import DISTORTION


class RoundRow(Row):
    """o1 -> o* -> o1 on one (s, r) with several true objects.

    Attributes:
        edits: the one edit o1 -> o*; the way back is made of it.
        true_objects: all true objects in file order, o1 among them.
    """

    edits: tuple[Edit]
    true_objects: Annotated[tuple[Label, ...], Field(min_length=2, max_length=MAX_TRUE_OBJECTS)]

    @model_validator(mode="after")
    def _holds_its_object(self) -> RoundRow:
        if self.edits[0].object not in self.true_objects:
            raise RowError(
                "true_objects",
                f"the edit's object '{self.edits[0].object}' is not among the true objects",
                "add it",
            )
        if len(set(self.true_objects)) != len(self.true_objects):
            raise RowError("true_objects", "a true object is listed twice", "list each once")
        return self

    @property
    def others(self) -> tuple[str, ...]:
        """The true objects without o1 itself. Another one with the same label stays, as in the released code."""
        place = self.true_objects.index(self.edits[0].object)
        return self.true_objects[:place] + self.true_objects[place + 1 :]

    def base_facts(self) -> Iterator[Fact]:
        """All true objects."""
        edit = self.edits[0]
        yield from (Fact(edit.relation, edit.subject, label) for label in self.true_objects)


class PublishedRound(TypedDict):
    """A row of `easy.json` or `hard.json`; its type is "1-N@relation"."""

    type: Text
    edit: PublishedEdit
    true_objects: Annotated[list[Entity], Field(min_length=2, max_length=MAX_TRUE_OBJECTS)]


def _published_facts(row: PublishedRound) -> Iterator[Fact]:
    edit = fact_of(row["edit"])
    for true in row["true_objects"]:
        yield Fact(edit.relation, edit.subject, true["label"])


def _published_row(case_id: str, group: str, row: PublishedRound) -> Row:
    if row["edit"]["object"] not in row["true_objects"]:
        raise RowError("true_objects", "the edit's object is not among them", "add it")
    labels = tuple(true["label"] for true in row["true_objects"])
    return RoundRow.model_construct(id=case_id, rule=group, edits=(edit_of(row["edit"]),), true_objects=labels)


def object_probabilities(p: FactProbabilities, state: str) -> list[float] | None:
    """Return p of the true objects (o1 first, then the others in file order), or None when one is unknown."""
    names = ["object"]
    while any((f"other:{len(names) - 1}", known) in p for known in ("0", "12")):
        names.append(f"other:{len(names) - 1}")
    values = [p.get((name, state)) for name in names]
    known = [value for value in values if value is not None]
    return known if len(known) == len(names) and len(names) > 1 else None


def _distortion(p: FactProbabilities) -> float | None:
    before, after = object_probabilities(p, "0"), object_probabilities(p, "12")
    return None if before is None or after is None else jensen_shannon(before, after)


def _distortion_released(p: FactProbabilities) -> float | None:
    value, objects = _distortion(p), object_probabilities(p, "0")
    return None if value is None or objects is None else value / len(objects)


def _ignore_rate(p: FactProbabilities) -> float | None:
    before, after = object_probabilities(p, "0"), object_probabilities(p, "12")
    if before is None or after is None:
        return None
    lost = [old > new for old, new in zip(before[1:], after[1:], strict=True)]
    return sum(lost) / len(lost)


def _failure_rate(p: FactProbabilities) -> float | None:
    rate = _ignore_rate(p)
    return None if rate is None else float(rate > 0.5)


def _ignore_rate_10(p: FactProbabilities) -> float | None:
    before, after = object_probabilities(p, "0"), object_probabilities(p, "12")
    if before is None or after is None:
        return None
    lost = [new < 0.9 * old for old, new in zip(before[1:], after[1:], strict=True)]
    return sum(lost) / len(lost)


def _mass_ratio(first: int) -> Compute:
    """Sum of p12 over sum of p0 of the true objects from place ``first`` on; o1 is at place 0."""

    def compute(p: FactProbabilities) -> float | None:
        before, after = object_probabilities(p, "0"), object_probabilities(p, "12")
        if before is None or after is None or (mass := math.fsum(before[first:])) == 0.0:
            return None
        return math.fsum(after[first:]) / mass

    return compute


def _success(p: FactProbabilities) -> float | None:
    there = wins(("new_object", "1"), ("object", "1"))(p)
    back = wins(("object", "12"), ("new_object", "12"))(p)
    return None if there is None or back is None else (there + back) / 2


_PUBLISHED = {  # (model, editor): easy, then hard. The paper's "+MLE" is MEMIT with Multi-Label Edit.
    ("gpt2-xl", "ft"): (89.50, 6.47, 74.47, 72.24, 90.06, 11.38, 80.83, 80.82),
    ("gpt2-xl", "mend"): (78.22, 6.48, 87.86, 86.88, 80.50, 9.73, 90.56, 89.36),
    ("gpt2-xl", "rome"): (99.82, 7.78, 67.41, 64.60, 99.86, 14.86, 74.38, 73.68),
    ("gpt2-xl", "memit"): (86.44, 5.94, 49.98, 45.36, 88.12, 10.29, 53.38, 50.12),
    ("gpt2-xl", "memit+mle"): (83.62, 3.05, 4.66, 1.72, 86.64, 2.67, 2.67, 1.12),
    ("gpt-j", "ft"): (99.96, 9.59, 96.43, 96.56, 100.0, 16.12, 97.48, 97.32),
    ("gpt-j", "mend"): (99.44, 8.55, 90.96, 90.68, 99.12, 14.35, 87.64, 86.56),
    ("gpt-j", "rome"): (99.66, 6.91, 67.35, 65.56, 99.80, 13.95, 78.98, 77.60),
    ("gpt-j", "memit"): (99.52, 6.44, 56.91, 53.52, 99.72, 13.50, 72.03, 70.44),
    ("gpt-j", "memit+mle"): (93.96, 2.11, 2.48, 0.80, 80.34, 2.72, 3.84, 1.12),
}

_BASE: Fields = {
    "target_new": ("object", "0"),
    "target_true": ("new_object", "0"),
    "others": Numbered("other", "0"),
}
_RELEASED_LAYOUT = ReleasedLayout(
    groups=(
        (
            ReleasedFile(
                "explicit/round_results/{editor}_{suite}{multi}.json",
                {
                    "edit1": {"target_new": ("new_object", "1"), "target_true": ("object", "1")},
                    "edit2": {
                        "target_new": ("object", "12"),
                        "target_true": ("new_object", "12"),
                        "others": Numbered("other", "12"),
                    },
                },
            ),
            # the script reads "model", but "gptj" where it summarises Multi-Label Edit
            ReleasedFile("explicit/round_results/{suite}_model.json", {"model": _BASE, "gptj": _BASE}),
        ),
    ),
)


class RoundConstruction(OneOfSeveral):
    """One of the objects of subjects that have two to ten."""

    default = True

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        fact = candidate.edited
        others = [other.to for other in candidate.others["edit1"]]
        new = draw(knowledge.objects(fact.relation), fact, unlike=others)
        return {
            "edits": [edit(knowledge, fact.relation, fact.of, fact.to, new, fact.subject_number)],
            "true_objects": [known.to.in_text for known in knowledge.of(fact.relation, fact.subject)],
        }


class _Easy(RoundConstruction):
    half = "near"


class _Hard(RoundConstruction):
    half = "far"


class Round(Pitfall[RoundRow]):
    """Multi-Label Edit, the paper's remedy, writes all true objects together in the second step."""

    name = "round"
    question = "After a fact was edited away and back again, are the other true objects still known?"
    topic = DISTORTION
    row = RoundRow
    facts: ClassVar = MappingProxyType(
        {
            "object": FactWords("the true object that is edited away and back", "o1"),
            "new_object": FactWords("what edit 1 writes in its place", "o*"),
            "other": FactWords("another true object, never edited", "other objects"),
        }
    )
    written, replaced = "new_object", "object"
    metrics = (
        *edit_success(written, replaced),
        Metric(
            name="succ",
            title="Succ",
            higher_is_better=True,
            low=0.0,
            high=1.0,
            definition="mean of p1(o*) > p1(o1) and p12(o1) > p12(o*)",
            source=f"{PAPER.format(section='2.3')}; released code: the same",
            compute=_success,
            question="Do the edits take, there and back?",
        ),
        Metric(
            name="distortion",
            title="D",
            higher_is_better=False,
            low=0.0,
            high=math.log(2.0),
            definition="Jensen-Shannon divergence (nats) of the true objects' normalised probabilities, "
            "state 0 against 12",
            source=PAPER.format(section="2.3"),
            compute=_distortion,
            question="How far the other true answers are out of proportion after there and back: 0 not at all.",
        ),
        Metric(
            name="distortion_released",
            title="D rel.",
            higher_is_better=False,
            low=0.0,
            high=math.log(2.0) / 2,
            definition='distortion divided by the number of true objects (a "batch mean" over a plain vector)',
            source=RELEASED,
            compute=_distortion_released,
            question="As D, scaled down by the number of true answers.",
            released_form_of="distortion",
        ),
        Metric(
            name="ir",
            title="IR",
            higher_is_better=False,
            low=0.0,
            high=1.0,
            definition="ignore rate: share of the other true objects with p0 > p12",
            source=f"{PAPER.format(section='2.3')}; released code: the same",
            compute=_ignore_rate,
            question="The share of the other true answers that are less likely after there and back.",
        ),
        Metric(
            name="ir_10",
            title="IR 10 %",
            higher_is_better=False,
            low=0.0,
            high=1.0,
            definition="share of the other true objects that lost more than a tenth: p12 < 0.9 p0",
            source=NOT_PUBLISHED,
            compute=_ignore_rate_10,
            question="The share of the other true answers that lost more than a tenth: IR counts the smallest loss.",
        ),
        Metric(
            name="mass_ratio",
            title="mass",
            higher_is_better=True,
            low=0.0,
            high=math.inf,
            definition="sum of p12 over sum of p0 of the true objects, o1 among them",
            source=NOT_PUBLISHED,
            compute=_mass_ratio(0),
            question="How much of the true answers' probability is left: D sees only their proportions.",
        ),
        Metric(
            name="mass_ratio_others",
            title="mass others",
            higher_is_better=True,
            low=0.0,
            high=math.inf,
            definition="sum of p12 over sum of p0 of the true objects without o1",
            source=NOT_PUBLISHED,
            compute=_mass_ratio(1),
            question="The same of the answers that nobody edited.",
        ),
        Metric(
            name="fr",
            title="FR",
            higher_is_better=False,
            low=0.0,
            high=1.0,
            definition="failure rate: IR > 0.5",
            source=f"{PAPER.format(section='2.3')}; released code: the same",
            compute=_failure_rate,
            question="1 when more than half of the other true answers are less likely after there and back.",
            is_binary=True,
        ),
    )
    thresholds = ("succ >= 1", "ir <= 0.5")
    columns = ("es", "ps", "succ", "distortion", "distortion_released", "ir", "fr")
    order = 4
    multi_label = True
    published = PublishedFigures(
        metrics=("succ", "distortion_released", "ir", "fr"),
        cells={
            (suite, model, editor): row[4 * place : 4 * place + 4]
            for (model, editor), row in _PUBLISHED.items()
            for place, suite in enumerate(("easy", "hard"))
        },
        usual_cases=2500,
        citation=CITATION,
        cited_as=CITED_AS,
        place=4,
        remarks={("hard", "gpt2-xl", "ft", "fr"): "not a multiple of 1/2500: a misprint or dropped cases"},
    )
    released_layout = _RELEASED_LAYOUT
    plots_by_facts = PlotByFacts(("distortion",), ("object", "other"), "true objects")
    constructions: ClassVar = MappingProxyType({"easy": _Easy(), "hard": _Hard()})
    published_file = PublishedFile(
        prompts="round_prompts.json",
        rows=rows_of(PublishedRound),
        recognises=lambda first: "edit" in first and "true_objects" in first,
        group=lambda row: str(row["type"]),
        facts=lambda row: (row["edit"],),
        base_facts=_published_facts,
        row=_published_row,
    )

    def program(self, case: Case, row: RoundRow) -> Program:
        edit = row.edits[0]
        probes = ask(case, "object", edit.before, "0", "1", "12")
        probes += ask(case, "new_object", edit.after, "0", "1", "12")
        for index, other in enumerate(row.others):
            probes += ask(case, f"other:{index}", Fact(edit.relation, edit.subject, other), "0", "12")
        return program_of(case, (edit, _back(edit)), probes)

    def with_multi_label(self, row: RoundRow, program: Program) -> Program:
        """Step 2 writes every true object, o1 among them, as requests of one step.

        One request per entry of ``true_objects``, in file order, a label that is listed twice written twice, as in the
        released `experiments/evaluate_MLE.py`. What is asked, and in which states, stays the same.
        """
        first, (back,) = program.steps
        together = tuple(dataclasses.replace(back, target_new=label) for label in row.true_objects)
        return dataclasses.replace(program, steps=(first, together))

    def steps_in_words(self, row: RoundRow, multi_label: bool) -> list[tuple[Edit, str, str]]:
        (edit,) = row.edits
        back = " + ".join(row.true_objects) if multi_label else edit.object
        return [(edit, edit.object, edit.new_object), (edit, edit.new_object, back)]

    def published_suite(self, suite: str) -> str:
        """The two published files are told apart by their name."""
        return "hard" if "hard" in suite.lower() else "easy"


def _back(edit: Edit) -> Edit:
    return Edit(edit.relation, edit.subject, edit.new_object, edit.object)
