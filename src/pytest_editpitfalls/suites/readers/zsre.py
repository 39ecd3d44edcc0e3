"""zsRE in the form that MEND's authors published (Mitchell et al., ICLR 2022): questions, with another answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import NotRequired, TypedDict

from pytest_editpitfalls.suites.benchmark_reader import reader_for
from pytest_editpitfalls.suites.benchmarks.edit import add_edit
from pytest_editpitfalls.suites.benchmarks.records import Form, Neighbour, Records
from pytest_editpitfalls.suites.benchmarks.rows import Label, Text, rows_of

_QUESTION = "nq question:"


class Row(TypedDict):
    """A record. `pred`, what a model of theirs answered, is not needed."""

    subject: Label
    src: Text
    alt: Label
    answers: list[Label]
    rephrase: NotRequired[Text]
    loc: NotRequired[Text]
    loc_ans: NotRequired[Text]


def recognises(row: Mapping[str, Any]) -> bool:
    """A question and another answer."""
    return {"src", "alt", "subject"} <= row.keys()


def read(rows: Iterable[Row], records: Records, path: Path) -> None:
    """Read the edits: `alt` is written, and the first of the answers is true."""
    for number, row in enumerate(rows):
        about = row.get("loc", "").removeprefix(_QUESTION).strip()
        add_edit(
            records,
            path,
            number,
            subject=row["subject"],
            prompt=row["src"],
            target_new=row["alt"],
            target_true=next(iter(row["answers"]), ""),
            paraphrases=filter(None, [row.get("rephrase", "")]),
            question=row["src"],
            neighbours=[Neighbour(f"{about}?", row.get("loc_ans", ""))] if about else (),
        )


READER = reader_for(
    Form(
        name="zsRE",
        what="a zsRE file (MEND's form)",
        rows=rows_of(Row),
        recognises=recognises,
        read=read,
        kinds=("coverage",),
        provenance="Levy et al., Zero-Shot Relation Extraction via Reading Comprehension (CoNLL 2017), "
        "as published by Mitchell et al. (ICLR 2022), or in its form",
    )
)
