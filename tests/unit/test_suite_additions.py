"""What the own format learnt: joining strings, sentence case, variants, terms of held facts, lists of objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_editpitfalls.cases.case import Relation, in_sentence_case
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import compile_case
from pytest_editpitfalls.suites import load_suite
from pytest_editpitfalls.suites.suite import Suite

Make = Callable[[str], Any]


def held_table(header: Path, objects: object = None, /, **fields: object) -> Path:
    """Write the table [held] into a header, and the file of objects beside it."""
    if objects is not None:
        (header.parent / "objects.json").write_text(json.dumps(objects, ensure_ascii=False), "utf-8")
        fields["objects"] = "objects.json"
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())
    header.write_text(f"{header.read_text('utf-8')}\n[held]\n{lines}", "utf-8")
    return header


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_suite(path)
    return f"{caught.value.what} | {caught.value.where} | {caught.value.fix}"


# Joining string


def test_a_joiner_reaches_everything_that_puts_prompt_and_object_together(small_suite: Make) -> None:
    small = small_suite("composite")
    small.header["joiner"] = ""
    (first, *_) = load_suite(small.write()).cases
    program = compile_case(first)
    assert {probe.joiner for probe in program.probes} == {""}
    assert {request.joiner for step in program.steps for request in step} == {""}
    assert {question.joiner for question in program.held} == {""}
    assert program.steps[0][0].sentence == "The capital of France isRome"
    assert first.sentence(first.edits[0].after) == "The capital of France isRome"


def test_a_relations_joiner_overrides_the_suites(small_suite: Make) -> None:
    small = small_suite("composite")
    small.header["joiner"] = ""
    small.relations["P36"]["joiner"] = " "
    (first, *_) = load_suite(small.write()).cases
    assert {(probe.relation, probe.joiner) for probe in compile_case(first).probes} >= {("P36", " "), ("P279", "")}


def test_another_text_is_no_joiner(small_suite: Make) -> None:
    small = small_suite("reverse")
    small.header["joiner"] = ": "
    assert "field joiner" in refused(small.write())


# Sentence case


def test_a_subject_that_begins_a_prompt_gets_its_capital(small_suite: Make) -> None:
    small = small_suite("round")
    small.relations["P279"]["sentence_case"] = True
    small.relations["P279"]["paraphrases"][1] = "{} belongs to the"
    first = load_suite(small.write()).cases[0]
    program = compile_case(first)
    subject = first.edits[0].subject
    assert subject[0].islower()
    written = subject[0].upper() + subject[1:]
    prompts = program.probes[0].prompts
    assert prompts[:3] == (f"{written} is a kind of", f"a, {subject} has", f"{written} belongs to the")
    request = program.steps[0][0]
    assert (request.subject, request.question) == (written, prompts[0])
    assert program.probes[0].subject == written
    assert program.held[0].prompts == (prompts[0],)
    assert first.sentence(first.edits[0].before).startswith(f"{written} is")


def test_without_it_nothing_is_capitalised(small_suite: Make) -> None:
    first = load_suite(small_suite("round").write()).cases[0]
    assert compile_case(first).steps[0][0].question[0].islower()


@pytest.mark.parametrize(
    ("label", "written"),
    [
        ("oak", "Oak"),
        ("élan vital", "Élan vital"),
        ("Paris", "Paris"),
        ("iPhone", "iPhone"),
        ("pH meter", "pH meter"),
        ("van Gogh", "Van Gogh"),
        ("7-Eleven", "7-Eleven"),
        ("", ""),
        ("日本", "日本"),
    ],
)
def test_sentence_case(label: str, written: str) -> None:
    assert in_sentence_case(label) == written


def test_only_the_prompts_that_begin_with_the_subject() -> None:
    relation = Relation("P", "The {} is", ("{} is",), sentence_case=True)
    assert relation.questions("oak") == ("The oak is", "Oak is")
    assert relation.written("oak") == "oak"


# Variants


def test_a_variant_shares_the_objects_and_the_name_of_its_base(small_suite: Make) -> None:
    small = small_suite("round")
    small.relations["P279-plural"] = {**small.relations["P279"], "prompt": "{} are kinds of", "variant_of": "P279"}
    small.lines[0]["edits"][0]["relation"] = "P279-plural"
    plain: Suite = load_suite(small_suite("round").write())
    suite = load_suite(small.write())
    # the same rivals as without the variant, though the file's only two cases have other relations now
    assert [held.candidates for held in suite.cases[0].held] == [held.candidates for held in plain.cases[0].held]
    assert [held.candidates for held in suite.cases[1].held] == [held.candidates for held in plain.cases[1].held]
    program = compile_case(suite.cases[0])
    assert program.steps[0][0].relation == "P279"
    assert {probe.relation for probe in program.probes} == {"P279"}
    assert program.steps[0][0].prompt == "{} are kinds of"


@pytest.mark.parametrize("base", ["P999", "P279-plural", "P279-other"])
def test_a_variant_of_nothing_or_of_a_variant_is_refused(small_suite: Make, base: str) -> None:
    small = small_suite("round")
    small.relations["P279-other"] = {**small.relations["P279"], "variant_of": "P279"}
    small.relations["P279-plural"] = {**small.relations["P279"], "variant_of": base}
    message = refused(small.write())
    assert f"'{base}'" in message
    assert "relation P279-plural, field variant_of" in message


# Held


def test_without_terms_it_is_as_it_was(small_suite: Make) -> None:
    question = compile_case(load_suite(small_suite("reverse").write()).cases[0]).held[0]
    assert (question.scores, question.share, question.not_rivals) == (("mean",), 0.0, ())
    assert len(question.prompts) == 1


OBJECTS = {
    "P36": {"objects": ["Paris", "Tokyo", "Oslo", "Nice", "Rome"], "true": {"France": ["Paris", "Nice"]}},
}


def test_the_terms_of_the_header(small_suite: Make) -> None:
    header = held_table(small_suite("reverse").write(), OBJECTS, scores=["mean", "sum"], paraphrases=0.5)
    suite = load_suite(header)
    one, other = (compile_case(case).held[0] for case in suite.cases)
    assert (one.scores, one.share, len(one.prompts)) == (("mean", "sum"), 0.5, 11)
    assert one.candidates == tuple(OBJECTS["P36"]["objects"])
    assert one.candidates is other.candidates  # thousands of cases share one list
    assert list(one.rivals()) == ["Tokyo", "Oslo", "Rome"]
    assert list(other.rivals()) == ["Paris", "Oslo", "Nice", "Rome"]


def test_another_file_of_objects_makes_another_suite(small_suite: Make) -> None:
    header = held_table(small_suite("reverse").write(), OBJECTS)
    first = load_suite(header).digest
    changed = json.dumps(OBJECTS).replace("Oslo", "Lima")
    (header.parent / "objects.json").write_text(changed, "utf-8")
    assert load_suite(header).digest != first


@pytest.mark.parametrize(
    ("fields", "objects", "said"),
    [
        ({"scores": []}, None, "field held.scores"),
        ({"scores": ["median"]}, None, "field held.scores.0"),
        ({"paraphrases": 1.5}, None, "field held.paraphrases"),
        ({"paraphrase": 0.5}, None, "paraphrases"),
        ({"objects": "../objects.json"}, None, "outside"),
        ({"objects": "missing.json"}, None, "cannot read"),
        ({}, {"P36": {"objects": []}}, "objects.json, field P36.objects"),
        ({}, {"P36": {"objects": ["Rome", "Rome"]}}, "the object 'Rome' stands twice"),
        ({}, {"P36": {"objects": [" Rome"]}}, "objects.json, field P36.objects.0"),
        ({}, {"P36": ["Rome"]}, "objects.json, field P36"),
        ({}, {"P17": {"objects": ["Rome"]}}, "relation 'P36' has no list of objects"),
        ({}, ["Rome"], "objects.json"),
    ],
)
def test_wrong_terms_are_refused(small_suite: Make, fields: dict[str, object], objects: object, said: str) -> None:
    assert said in refused(held_table(small_suite("reverse").write(), objects, **fields))


def test_too_many_objects_are_refused(small_suite: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {"P36": {"objects": [f"city {number}" for number in range(50_001)]}}
    assert "at most 50000" in refused(held_table(small_suite("reverse").write(), many))


# Strength


def test_the_strength_of_a_case(small_suite: Make) -> None:
    small = small_suite("reverse")
    small.lines[1]["strength"] = "default"
    assert [case.row.strength for case in load_suite(small.write()).cases] == ["strict", "default"]
    small.lines[1]["strength"] = "weak"
    assert "field strength" in refused(small.write())
