"""What came later changes no digest of a case, a program or a suite that does not use it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_editpitfalls.cases.case import Case, Edit, Fact, HeldFact, Relation
from pytest_editpitfalls.cases.digests import case_digest, digest_of, program_digest
from pytest_editpitfalls.pitfalls import compile_case
from pytest_editpitfalls.pitfalls.coverage import CoverageRow
from pytest_editpitfalls.probes import Divergence, Generated, Perplexity, Probe
from pytest_editpitfalls.program import MAX_LISTED, HeldQuestion, list_digest

# Written down before joiner, strength, scores and lists of objects were there.
CASE = "f567cd8059ff2c4682781fde07926c1a8508a2aff72f298cfcbf1722466af61d"
PROGRAM = "65f99d23c7c87e25c5b778655d199b6f840e07fd51324034142ca6ea1f11b4d0"

PARAPHRASES = tuple(f"Number {number}: the capital of {{}} is" for number in range(10))


def case(**relation: object) -> Case:
    row = CoverageRow(
        id="P36-0001",
        rule="P36",
        edits=(Edit("P36", "France", "Paris", "Rome"), Edit("P36", "France", "Rome", "Oslo")),
    )
    known = Relation("P36", "The capital of {} is", PARAPHRASES, "capital", **relation)  # type: ignore[arg-type]
    held = HeldFact("edit1", Fact("P36", "France", "Paris"), ("Rome", "Oslo"))
    return Case("coverage", "coverage", "cases.jsonl", 0, row, (known,), (held,))


def test_digests_are_what_they_were() -> None:
    assert case_digest(case()) == CASE
    assert program_digest(compile_case(case())) == PROGRAM


@pytest.mark.parametrize(
    "changed",
    [
        case(joiner=""),
        case(sentence_case=True),
        replace(case(), row=case().row.model_copy(update={"strength": "default"})),
        replace(case(), held=(replace(case().held[0], scores=("mean", "sum")),)),
        replace(case(), held=(replace(case().held[0], share=0.5),)),
        replace(case(), held=(replace(case().held[0], not_rivals=("Rome",)),)),
    ],
)
def test_what_uses_them_has_a_digest_of_its_own(changed: Case) -> None:
    assert case_digest(changed) != CASE


@pytest.mark.parametrize(
    "changes",
    [{"joiner": ""}, {"scores": ("sum",)}, {"share": 0.5}, {"not_rivals": ("a",)}, {"prompts": ("x", "y")}],
)
def test_held_questions_that_ask_something_else_differ(changes: dict[str, object]) -> None:
    question = HeldQuestion("edit1", ("x",), "a", ("b", "c"))
    assert digest_of(replace(question, **changes)) != digest_of(question)  # type: ignore[arg-type]


def test_a_long_list_is_digested_once_and_by_its_content() -> None:
    labels = tuple(f"label {number}" for number in range(MAX_LISTED + 1))
    question = HeldQuestion("edit1", ("x",), "a", labels)
    other = replace(question, candidates=(*labels[:-1], "another"))
    list_digest.cache_clear()
    first = digest_of(question)
    assert digest_of(replace(question, candidates=tuple(str(label) for label in labels))) == first
    assert list_digest.cache_info().misses == 1
    assert digest_of(other) != first


def test_what_asks_otherwise_is_another_program() -> None:
    """The forms of a probe have no tag in a digest: their fields tell them apart."""
    said = Generated("new", "1", ("x",), ("a",))
    forms = [
        Probe("new", "1", ("x",), "a"),
        said,
        replace(said, answers=("a", "b")),
        replace(said, match="contains"),
        replace(said, max_tokens=4),
        replace(said, stop="line"),
        replace(said, joiner=""),
        Perplexity("new", "1", ("x",)),
        Divergence("new", "1", ("x",)),
    ]
    program = compile_case(case())
    digests = [program_digest(replace(program, probes=(form,))) for form in forms]
    assert len(set(digests)) == len(forms)
    worded = replace(said, subject="France", relation="P36")
    assert digest_of(worded) == digest_of(said)  # words for reports make no other program
