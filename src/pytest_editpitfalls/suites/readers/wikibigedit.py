"""WikiBigEdit (Thede et al., ICML 2025): questions whose answer changed, without the answer that was true before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import NotRequired, TypedDict

from pytest_editpitfalls.suites.benchmark_reader import reader_for
from pytest_editpitfalls.suites.benchmarks.edit import add_edit
from pytest_editpitfalls.suites.benchmarks.prompts import texts_in
from pytest_editpitfalls.suites.benchmarks.records import Form, Neighbour, Records
from pytest_editpitfalls.suites.benchmarks.rows import Label, Text, rows_of


class Row(TypedDict):
    """A record; the question of two hops is about the edit's subject, and feeds no kind."""

    subject: Label
    update: Text
    ans: Label
    rephrase: NotRequired[Any]
    personas: NotRequired[Any]
    loc: NotRequired[Any]
    loc_ans: NotRequired[Any]
    ground_truth: NotRequired[Any]


def recognises(row: Mapping[str, Any]) -> bool:
    """A question and its new answer."""
    return {"update", "ans", "subject"} <= row.keys()


def read(rows: Iterable[Row], records: Records, path: Path) -> None:
    """Read the edits."""
    for number, row in enumerate(rows):
        about, answers = texts_in(row.get("loc")), texts_in(row.get("loc_ans"))
        add_edit(
            records,
            path,
            number,
            subject=row["subject"],
            prompt=row["update"],
            target_new=row["ans"],
            target_true=next(iter(texts_in(row.get("ground_truth"))), ""),
            paraphrases=(*texts_in(row.get("rephrase")), *texts_in(row.get("personas"))),
            question=row["update"],
            neighbours=[Neighbour(about[0], next(iter(answers), ""))] if about else (),
        )


READER = reader_for(
    Form(
        name="WikiBigEdit",
        what="a WikiBigEdit file",
        rows=rows_of(Row),
        recognises=recognises,
        read=read,
        kinds=("coverage",),
        provenance="Thede et al., Understanding the Limits of Lifelong Knowledge Editing in LLMs (ICML 2025), "
        "or in its form",
    )
)
