"""KnowEdit and the JSON files of EasyEdit (Zhang et al., 2024): prompts with the subject in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import NotRequired, TypedDict

from pytest_editpitfalls.cases.case import Relation
from pytest_editpitfalls.suites.benchmark_reader import reader_for
from pytest_editpitfalls.suites.benchmarks.edit import add_edit
from pytest_editpitfalls.suites.benchmarks.prompts import objects_in, relation_name, template_of, texts_in
from pytest_editpitfalls.suites.benchmarks.records import Form, Inverse, Neighbour, PlainEdit, Records, Several
from pytest_editpitfalls.suites.benchmarks.rows import Label, Text, rows_of


class Row(TypedDict):
    """A record. WikiBio has `concept`, `text` and `labels` for the first three fields."""

    subject: NotRequired[Label]
    prompt: NotRequired[Text]
    target_new: NotRequired[Any]
    concept: NotRequired[Label]
    text: NotRequired[Text]
    labels: NotRequired[Any]
    ground_truth: NotRequired[Any]
    rephrase_prompt: NotRequired[Any]
    rephrase: NotRequired[Any]
    locality_prompt: NotRequired[Any]
    locality_ground_truth: NotRequired[Any]
    locality: NotRequired[Any]
    portability: NotRequired[Any]


def recognises(row: Mapping[str, Any]) -> bool:
    """A prompt with what is to be written."""
    return {"prompt", "target_new"} <= row.keys() or {"text", "labels", "concept"} <= row.keys()


def read(rows: Iterable[Row], records: Records, path: Path) -> None:
    """Read the edits, the facts that follow the other way round, and subjects with several objects."""
    for number, row in enumerate(rows):
        locality = list(_tests(row.get("locality")))
        neighbours = [Neighbour(prompt, next(iter(texts_in(answer)), "")) for _, prompt, answer in locality]
        kept = next(iter(texts_in(row.get("locality_ground_truth"))), "")
        neighbours += [Neighbour(prompt, kept) for prompt in texts_in(row.get("locality_prompt"))]
        edit = add_edit(
            records,
            path,
            number,
            subject=row.get("subject") or row.get("concept", ""),
            prompt=row.get("prompt") or row.get("text", ""),
            target_new=next(iter(texts_in(row.get("target_new", row.get("labels")))), ""),
            target_true=next(iter(texts_in(row.get("ground_truth"))), ""),
            paraphrases=(*texts_in(row.get("rephrase_prompt")), *texts_in(row.get("rephrase"))),
            neighbours=neighbours,
        )
        if edit is not None:
            records.inverses += _inverses(edit, row)
            records.several += _several(edit, locality)


def _inverses(edit: PlainEdit, row: Row) -> Iterator[Inverse]:
    for group, prompt, answer in _tests(row.get("portability")):
        if group != "Logical_Generalization" or edit.subject not in texts_in(answer):
            continue
        if (back := template_of(prompt, edit.target_new)) is not None:
            yield Inverse(edit, Relation(relation_name(back[0]), back[0], ()))


def _several(edit: PlainEdit, locality: Iterable[tuple[str, str, Any]]) -> Iterator[Several]:
    for group, prompt, answer in locality:
        nested = isinstance(answer, list) and any(isinstance(each, list) for each in answer)
        if group != "Relation_Specificity" or not nested:
            continue  # a flat list may hold one object and its aliases
        objects, asked = objects_in(answer), template_of(prompt, edit.subject)
        if len(objects) > 1 and asked is not None:
            relation = Relation(relation_name(asked[0]), asked[0], ())
            yield Several(edit.subject, relation, objects, "", "", edit.row)


def _tests(groups: object) -> Iterator[tuple[str, str, Any]]:
    """Give group, prompt and answer of each test: a list of tests, or one with lists of prompts and answers."""
    for group, tests in groups.items() if isinstance(groups, dict) else ():
        for test in tests if isinstance(tests, list) else [tests]:
            if not isinstance(test, dict) or "prompt" not in test:
                continue
            prompt, answer = test["prompt"], test.get("ground_truth")
            if isinstance(prompt, str):
                yield str(group), prompt, answer
            elif isinstance(prompt, list) and isinstance(answer, list):
                pairs = zip(prompt, answer, strict=False)
                yield from ((str(group), text, each) for text, each in pairs if isinstance(text, str))


READER = reader_for(
    Form(
        name="KnowEdit",
        what="a KnowEdit file (or one of EasyEdit's form)",
        rows=rows_of(Row),
        recognises=recognises,
        read=read,
        kinds=("reverse", "coverage", "round"),
        provenance="Zhang et al., A Comprehensive Study of Knowledge Editing for Large Language Models (2024), "
        "or in its form",
    )
)
