"""RippleEdits (Cohen et al., TACL 2024): an edit, with what follows from it and what must stay.

The files name subjects by their Wikidata id alone. Their labels are found in the answers of other records, and in the
prompts of a relation, which differ in the subject only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import NotRequired, TypedDict

from pytest_editpitfalls.cases.case import Relation
from pytest_editpitfalls.suites.benchmark_reader import reader_for
from pytest_editpitfalls.suites.benchmarks.edit import add_edit
from pytest_editpitfalls.suites.benchmarks.ids import Labels
from pytest_editpitfalls.suites.benchmarks.prompts import template_of
from pytest_editpitfalls.suites.benchmarks.records import Chain, Form, Inverse, Neighbour, PlainEdit, Records, Several
from pytest_editpitfalls.suites.benchmarks.rows import Label, Text, rows_of


class Answer(TypedDict):
    """An object with its aliases; these are not needed."""

    value: Label


class Query(TypedDict):
    """A question. One of two hops has a second relation."""

    prompt: Text
    answers: list[Answer]
    relation: NotRequired[Label]
    subject_id: NotRequired[Any]
    target_ids: NotRequired[Any]
    second_relation: NotRequired[Label]
    phrase: NotRequired[Any]


class Test(TypedDict):
    """Questions, with others that have to be known for them."""

    test_queries: list[Query]
    condition_queries: NotRequired[list[Query]]


class Statement(TypedDict):
    """A fact in words, ended by its object and a full stop."""

    prompt: Text
    relation: Label
    subject_id: NotRequired[Any]
    target_id: NotRequired[Any]
    input_prompt: NotRequired[Text]
    subject_label: NotRequired[Label]
    subject: NotRequired[Label]


class EditStatement(Statement):
    """The edit, and what it replaces; `recent` files have no such fact."""

    original_fact: NotRequired[Statement | None]


class Row(TypedDict):
    """A record. "Specifity" is spelt as in the published files."""

    edit: EditStatement
    Relation_Specifity: NotRequired[list[Test]]
    Relation_Specificity: NotRequired[list[Test]]
    Logical_Generalization: NotRequired[list[Test]]
    Compositionality_II: NotRequired[list[Test]]
    Forgetfulness: NotRequired[list[Test]]


def recognises(row: Mapping[str, Any]) -> bool:
    """An edit in words, by ids."""
    edit = row.get("edit")
    return isinstance(edit, dict) and "prompt" in edit and ("subject_id" in edit or "relation" in edit)


def read(rows: Iterable[Row], records: Records, path: Path) -> None:
    """Read the edits and everything around them."""
    rows = list(rows)
    labels = Labels()
    for row in rows:
        edit = row["edit"]
        for query in _all_queries(row):
            labels.answered(query.get("target_ids"), [answer["value"] for answer in query["answers"]])
            if query.get("phrase") is None and "second_relation" not in query:
                labels.asked(query.get("relation", ""), query.get("subject_id"), query["prompt"])
    labels.settle()
    for number, row in enumerate(rows):
        found = _edit(row["edit"], labels)
        if found is None:
            records.leave_out("the edit's subject or object cannot be told from its prompt", number)
            continue
        subject, stem, new, true = found
        known = add_edit(
            records,
            path,
            number,
            subject=subject,
            prompt=stem,
            target_new=new,
            target_true=true,
            relation=row["edit"]["relation"],
            neighbours=(Neighbour(query["prompt"], _value(query)) for query in _queries(_kept(row))),
        )
        if known is not None:
            edit = row["edit"]
            records.inverses += _inverses(known, row)
            records.chains += _chains(known, edit.get("subject_id"), row, labels)
            records.several += _several(known, edit.get("subject_id"), row)


def _edit(edit: EditStatement, labels: Labels) -> tuple[str, str, str, str] | None:
    """Return subject, prompt, new and true object of an edit; None where they cannot be told apart."""
    original = edit.get("original_fact")
    stem = edit.get("input_prompt") or labels.stem(edit["relation"], edit.get("target_id"), edit["prompt"])
    stem = stem or (labels.common_stem(edit["prompt"], original["prompt"]) if original else "")
    if not stem or not edit["prompt"].startswith(stem):
        return None
    named = edit.get("subject") or edit.get("subject_label") or ""
    subject = named or labels.subject(edit["relation"], edit.get("subject_id"), stem)
    if not subject:
        return None
    true = ""
    if original and original["prompt"].startswith(stem):
        true = _rest(original["prompt"], stem)
    return subject, stem.rstrip(), _rest(edit["prompt"], stem), true


def _rest(statement: str, stem: str) -> str:
    return statement[len(stem) :].strip().removesuffix(".").strip()


def _queries(tests: Iterable[Test]) -> Iterator[Query]:
    for test in tests:
        yield from test["test_queries"]


def _kept(row: Row) -> list[Test]:
    return [*row.get("Relation_Specifity", []), *row.get("Relation_Specificity", [])]


def _all_queries(row: Row) -> Iterator[Query]:
    groups = (
        _kept(row),
        row.get("Logical_Generalization", []),
        row.get("Compositionality_II", []),
        row.get("Forgetfulness", []),
    )
    for group in groups:
        for test in group:
            yield from test["test_queries"]
            yield from test.get("condition_queries", [])


def _value(query: Query) -> str:
    return query["answers"][0]["value"] if query["answers"] else ""


def _inverses(edit: PlainEdit, row: Row) -> Iterator[Inverse]:
    for query in _queries(row.get("Logical_Generalization", [])):
        if edit.subject not in {answer["value"] for answer in query["answers"]}:
            continue
        back = template_of(query["prompt"], edit.target_new)
        if back is not None and query.get("relation"):
            yield Inverse(edit, Relation(query.get("relation", ""), back[0], ()))


def _chains(edit: PlainEdit, subject_id: object, row: Row, labels: Labels) -> Iterator[Chain]:
    for test in row.get("Compositionality_II", []):
        first = next(iter(test.get("condition_queries", [])), None)
        for query in test["test_queries"]:
            if first is None or query.get("second_relation") != edit.relation or not query.get("relation"):
                continue
            if query.get("subject_id") == subject_id or edit.subject not in {
                each["value"] for each in first["answers"]
            }:
                continue
            start = labels.subject(query.get("relation", ""), query.get("subject_id"), first["prompt"])
            one, both = template_of(first["prompt"], start), template_of(query["prompt"], start)
            if one is not None and both is not None:
                name = query.get("relation", "")
                yield Chain(edit, start, Relation(name, one[0], ()), Relation(f"{name}.{edit.relation}", both[0], ()))


def _several(edit: PlainEdit, subject_id: object, row: Row) -> Iterator[Several]:
    for query in _queries(_kept(row)):
        objects = _objects(query)
        asked = template_of(query["prompt"], edit.subject)
        if len(objects) > 1 and asked and query.get("subject_id") == subject_id and query.get("relation"):
            yield Several(edit.subject, Relation(query.get("relation", ""), asked[0], ()), objects, "", "", edit.row)
    for query in _queries(row.get("Forgetfulness", [])):
        objects = _objects(query)
        if query.get("relation") == edit.relation and edit.target_true in objects and len(objects) > 1:
            yield Several(edit.subject, edit.asked, objects, edit.target_true, edit.target_new, edit.row)


def _objects(query: Query) -> tuple[str, ...]:
    return tuple(dict.fromkeys(answer["value"] for answer in query["answers"] if answer["value"].strip()))


READER = reader_for(
    Form(
        name="RippleEdits",
        what="a RippleEdits file",
        rows=rows_of(Row),
        recognises=recognises,
        read=read,
        kinds=("reverse", "composite", "coverage", "round"),
        provenance="Cohen et al., Evaluating the Ripple Effects of Knowledge Editing in Language Models (TACL 2024), "
        "or in its form",
    )
)
