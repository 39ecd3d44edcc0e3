"""CounterFact and multi_counterfact (Meng et al., NeurIPS 2022): single edits with paraphrases and neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import NotRequired, TypedDict

from pytest_editpitfalls.suites.benchmark_reader import reader_for
from pytest_editpitfalls.suites.benchmarks.edit import add_rewrite
from pytest_editpitfalls.suites.benchmarks.records import Form, Neighbour, Records
from pytest_editpitfalls.suites.benchmarks.rows import Rewrite, Text, rows_of, target


class Row(TypedDict):
    """A record; `attribute_prompts` and `generation_prompts` are not needed."""

    requested_rewrite: Rewrite
    paraphrase_prompts: NotRequired[list[Text]]
    neighborhood_prompts: NotRequired[list[Text]]


def recognises(row: Mapping[str, Any]) -> bool:
    """An edit by itself, and no list of true objects as PEAK has."""
    return isinstance(row.get("requested_rewrite"), dict) and not {"postive_list", "para_add_prompts"} & row.keys()


def read(rows: Iterable[Row], records: Records, path: Path) -> None:
    """Read the edits."""
    for number, row in enumerate(rows):
        add_rewrite(
            records,
            path,
            number,
            row["requested_rewrite"],
            paraphrases=row.get("paraphrase_prompts", ()),
            # the prompts of a neighbourhood ask for the edit's true object
            neighbours=(
                Neighbour(prompt, target(row["requested_rewrite"], "target_true"))
                for prompt in row.get("neighborhood_prompts", ())
            ),
        )


READER = reader_for(
    Form(
        name="CounterFact",
        what="a CounterFact file",
        rows=rows_of(Row),
        recognises=recognises,
        read=read,
        kinds=("coverage",),
        provenance="Meng et al., Locating and Editing Factual Associations in GPT (NeurIPS 2022), or in its form",
    )
)
