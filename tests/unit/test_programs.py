"""What each protocol asks: the table of facts and states, written out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_editpitfalls.cases.case import Fact, fill
from pytest_editpitfalls.pitfalls import PITFALLS, Program, compile_case
from pytest_editpitfalls.pitfalls.round import RoundRow
from pytest_editpitfalls.program import EditRequest, HeldQuestion, Probe
from pytest_editpitfalls.suites import load_suite

Make = Callable[[str], Any]


def program(small_suite: Make, kind: str) -> Program:
    return compile_case(load_suite(small_suite(kind).write()).cases[0])


def asked(program: Program) -> list[tuple[str, str, str, str]]:
    """(fact, state, rewrite question, target) of every probe."""
    return [(probe.fact, probe.state, probe.prompts[0], probe.target) for probe in program.probes]


def test_reverse(small_suite: Make) -> None:
    result = program(small_suite, "reverse")
    assert asked(result) == [
        *(("old", state, "The capital of France is", "Rome") for state in ("0", "1", "12", "2")),
        ("replaced", "1", "The capital of France is", "Paris"),
        *(("new_exp", state, "Rome is the capital of", "Spain") for state in ("0", "12", "2")),
        *(("new_imp", state, "The capital of Spain is", "Rome") for state in ("0", "12", "2")),
        *(("old_imp", state, "Rome is the capital of", "France") for state in ("0", "12", "2")),
    ]
    assert [(state.name, state.steps) for state in result.states] == [
        ("0", ()),
        ("1", (0,)),
        ("12", (0, 1)),
        ("2", (1,)),
    ]
    assert result.steps == (
        (EditRequest("The capital of {} is", "France", "Rome", "Paris", "P36"),),
        (EditRequest("{} is the capital of", "Rome", "Spain", "France", "P1376"),),
    )
    assert result.held == (HeldQuestion("edit1", ("The capital of France is",), "Paris", ("Tokyo",)),)


def test_composite(small_suite: Make) -> None:
    result = program(small_suite, "composite")
    assert asked(result) == [
        *(("old", state, "The capital of France is", "Rome") for state in ("0", "1", "12", "2")),
        ("replaced", "1", "The capital of France is", "Paris"),
        *(("new_exp", state, "Lyon is a kind of", "Oslo") for state in ("0", "12", "2")),
        *(("new_imp", state, "The capital of France is", "Oslo") for state in ("0", "12", "2")),
        *(("old_imp", state, "Lyon is a kind of", "Rome") for state in ("0", "12", "2")),
        *(("replaced_2", state, "Lyon is a kind of", "Paris") for state in ("12", "2")),
        *(("tied", state, "The country of Lyon is", "France") for state in ("0", "1", "12", "2")),
    ]
    assert [(state.name, state.steps) for state in result.states] == [
        ("0", ()),
        ("1", (0,)),
        ("12", (0, 1)),
        ("2", (1,)),
    ]
    assert [(question.name, question.object) for question in result.held] == [("edit1", "Paris"), ("tied", "France")]


def test_coverage(small_suite: Make) -> None:
    result = program(small_suite, "coverage")
    question = "The capital of France is"
    assert asked(result) == [
        *(("old", state, question, "Rome") for state in ("0", "1", "12", "2")),
        *(("replaced", state, question, "Paris") for state in ("1", "2")),
        *(("new_exp", state, question, "Oslo") for state in ("0", "12", "2")),
    ]
    assert [state.name for state in result.states] == ["0", "1", "12", "2"]


def test_round(small_suite: Make) -> None:
    result = program(small_suite, "round")
    question = "oak is a kind of"
    assert asked(result) == [
        *(("object", state, question, "tree") for state in ("0", "1", "12")),
        *(("new_object", state, question, "fish") for state in ("0", "1", "12")),
        *(("other:0", state, question, "plant") for state in ("0", "12")),
        *(("other:1", state, question, "living thing") for state in ("0", "12")),
    ]
    assert [(request.target_true, request.target_new) for (request,) in result.steps] == [
        ("tree", "fish"),
        ("fish", "tree"),
    ]
    assert [state.name for state in result.states] == ["0", "1", "12"]


@pytest.mark.parametrize("replaced", ["Rome", ""])
def test_an_edit_that_replaces_nothing_does_not_ask_for_it(small_suite: Make, replaced: str) -> None:
    case = load_suite(small_suite("reverse").write()).cases[0]
    first = dataclasses.replace(case.edits[0], object=replaced)
    row = case.row.model_copy(update={"edits": (first, case.edits[1])})
    changed = dataclasses.replace(case, row=row)
    facts = {probe.fact for probe in compile_case(changed).probes}
    assert facts == {"old", "new_exp", "new_imp", "old_imp"}


def test_multi_label_writes_all_true_objects_in_step_two(small_suite: Make) -> None:
    case = load_suite(small_suite("round").write()).cases[0]
    plain, multi = compile_case(case), compile_case(case, multi_label=True)
    request = EditRequest("{} is a kind of", "oak", "", "fish", "P279")
    assert multi.steps[0] == plain.steps[0]
    assert multi.steps[1] == tuple(
        dataclasses.replace(request, target_new=label) for label in ("plant", "tree", "living thing")
    )
    assert dataclasses.replace(multi, steps=plain.steps) == plain, "what is asked does not change"


@pytest.mark.parametrize("kind", ["reverse", "composite", "coverage"])
def test_multi_label_changes_no_other_kind(small_suite: Make, kind: str) -> None:
    case = load_suite(small_suite(kind).write()).cases[0]
    assert compile_case(case, multi_label=True) == compile_case(case)


def test_edits(small_suite: Make) -> None:
    result = program(small_suite, "edits")
    assert asked(result) == [
        (fact, state, question, target)
        for fact, question, target in (
            ("new", "The capital of France is", "Rome"),
            ("true", "The capital of France is", "Paris"),
            ("sibling:0", "The capital of France is", "Lyon"),
            ("other:0", "France is a kind of", "country"),
            ("tie:0", "The country of Nice is", "France"),
            ("neighbour:0", "The capital of Peru is", "Lima"),
            ("neighbour_new:0", "The capital of Peru is", "Rome"),
            ("neighbour:1", "The capital of Japan is", "Tokyo"),
            ("neighbour_new:1", "The capital of Japan is", "Rome"),
            ("inverse:0", "Rome is the capital of", "France"),
            ("inverse_old:0", "Rome is the capital of", "Italy"),
            ("conclusion:0", "The capital of Nice is", "Rome"),
            ("conclusion_old:0", "The capital of Nice is", "Paris"),
            ("expectation:0", "Nice is a kind of", "Rome"),
            ("expectation_old:0", "Nice is a kind of", "Paris"),
        )
        for state in ("0", "1")
    ]
    assert [(state.name, state.steps) for state in result.states] == [("0", ()), ("1", (0,))]
    assert result.steps == ((EditRequest("The capital of {} is", "France", "Rome", "Paris", "P36"),),)


@pytest.mark.parametrize("row", [2067, 2229])
def test_multi_label_writes_a_label_twice_where_it_is_listed_twice(published: Path, row: int) -> None:
    """As released: one request per entry, also where two entities of one label are true."""
    case = load_suite(published / "GPT2-XL" / "easy.json").cases[row]
    written = [request.target_new for request in compile_case(case, multi_label=True).steps[1]]
    assert isinstance(case.row, RoundRow)
    assert written == list(case.row.true_objects)
    assert written.count(case.edits[0].object) == 2
    assert sorted(written) == sorted([case.edits[0].object, *case.row.others])


@pytest.mark.parametrize("kind", [kind.name for kind in PITFALLS])
def test_prompts_are_the_rewrite_prompt_and_all_paraphrases(small_suite: Make, kind: str) -> None:
    small = small_suite(kind)
    for relation in small.relations.values():
        relation["paraphrases"].append(relation["paraphrases"][0])
    case = load_suite(small.write()).cases[0]
    probes = [probe for probe in compile_case(case).probes if isinstance(probe, Probe) and probe.subject]
    # what is denied or asked behind something else has prompts of its own
    plain = [each for each in probes if each.prompts[0] == case.questions(Fact(each.relation, each.subject, ""))[0]]
    assert plain
    if kind == "lifelong":  # asks the rewrite prompt of many edits, and the paraphrases at the end
        return
    for probe in plain:
        assert len(probe.prompts) == 12
        assert probe.prompts[1] == probe.prompts[11], "a paraphrase listed twice is asked twice"


def test_braces_in_a_subject_stay() -> None:
    assert fill("The author of {} is", "f{}() {x}") == "The author of f{}() {x} is"
    request = EditRequest("The author of {} is", "f{}() {x}", "Ada")
    assert request.question == fill(request.prompt, request.subject)
