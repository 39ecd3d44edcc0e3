"""PEAK (Ma et al., ICML 2024): a further object is written for a subject that has several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import NotRequired, TypedDict

from pytest_editpitfalls.suites.benchmark_reader import reader_for
from pytest_editpitfalls.suites.benchmarks.edit import add_rewrite
from pytest_editpitfalls.suites.benchmarks.prompts import objects_in
from pytest_editpitfalls.suites.benchmarks.records import Form, Neighbour, Records, Several
from pytest_editpitfalls.suites.benchmarks.rows import Label, Rewrite, Text, rows_of


class Row(TypedDict):
    """A record; the lists of false objects are not needed. "postive" is spelt as in the published files."""

    requested_rewrite: Rewrite
    postive_list: list[Label]
    para_add_prompts: NotRequired[list[Text]]
    neighborhood_prompts: NotRequired[list[Any]]


def recognises(row: Mapping[str, Any]) -> bool:
    """An edit by itself, and further prompts or true objects under PEAK's names."""
    return isinstance(row.get("requested_rewrite"), dict) and bool({"postive_list", "para_add_prompts"} & row.keys())


def read(rows: Iterable[Row], records: Records, path: Path) -> None:
    """Read the edits and the true objects."""
    for number, row in enumerate(rows):
        edit = add_rewrite(
            records,
            path,
            number,
            row["requested_rewrite"],
            paraphrases=row.get("para_add_prompts", ()),
            neighbours=(
                Neighbour(str(pair[0]), str(pair[1]))
                for pair in row.get("neighborhood_prompts", ())
                if isinstance(pair, list) and len(pair) == 2
            ),
        )
        if edit is not None:
            objects = tuple(dict.fromkeys([*filter(None, [edit.target_true]), *objects_in(row["postive_list"])]))
            records.several.append(
                Several(edit.subject, edit.asked, objects, edit.target_true, edit.target_new, number)
            )


READER = reader_for(
    Form(
        name="PEAK",
        what="a PEAK file",
        rows=rows_of(Row),
        recognises=recognises,
        read=read,
        kinds=("coverage", "round"),
        provenance="Ma et al., Neighboring Perturbations of Knowledge Editing on Large Language Models (ICML 2024), "
        "or in its form",
    )
)
