"""MQuAKE (Zhong et al., EMNLP 2023): CF, CF-3k, T, and Remastered (ICLR 2025). Edits, and questions of several hops.

A question of two hops whose second hop is edited is a composite case: the first hop is the tied fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import NotRequired, TypedDict

from pytest_editpitfalls.cases.case import Relation
from pytest_editpitfalls.suites.benchmark_reader import reader_for
from pytest_editpitfalls.suites.benchmarks.edit import add_rewrite
from pytest_editpitfalls.suites.benchmarks.prompts import relation_name, template_of, templates_of
from pytest_editpitfalls.suites.benchmarks.records import Chain, Form, PlainEdit, Records
from pytest_editpitfalls.suites.benchmarks.rows import Label, Rewrite, Text, rows_of


class Hop(TypedDict):
    """A fact of a chain."""

    cloze: Text
    answer: Label
    question: NotRequired[Text]


class Origin(TypedDict):
    """The chain before the edits, by ids and by labels."""

    triples: NotRequired[list[list[Label]]]
    triples_labeled: NotRequired[list[list[Label]]]


class Row(TypedDict):
    """A record."""

    requested_rewrite: list[Rewrite]
    questions: list[Text]
    single_hops: list[Hop]
    orig: NotRequired[Origin]


def recognises(row: Mapping[str, Any]) -> bool:
    """A list of edits in CounterFact's form."""
    return isinstance(row.get("requested_rewrite"), list)


def read(rows: Iterable[Row], records: Records, path: Path) -> None:
    """Read the edits and the chains of two hops."""
    for number, row in enumerate(rows):
        edits = [add_rewrite(records, path, number, rewrite) for rewrite in row["requested_rewrite"]]
        chain = _chain(row, [edit for edit in edits if edit is not None])
        if isinstance(chain, Chain):
            records.chains.append(chain)
        else:
            records.leave_out(f"no composite case: {chain}", number)


def _chain(row: Row, edits: list[PlainEdit]) -> Chain | str:
    """The chain, or why a record has none that makes a case."""
    hops = row["single_hops"]
    if len(hops) != 2:
        return "the question has not two hops"
    if len(edits) != 1 or len(row["requested_rewrite"]) != 1:
        return "not one edit"
    edit, origin = edits[0], row.get("orig", {})
    if hops[0]["answer"] != edit.subject or hops[1]["answer"] != edit.target_true:
        return "the edit is not on the second hop"
    labels, ids = origin.get("triples_labeled") or [[]], origin.get("triples") or [[]]
    start = labels[0][0] if labels[0] else ""
    first = template_of(hops[0]["cloze"], start)
    whole = templates_of(row["questions"], start)
    if first is None or not whole:
        return "what the question is about is not named in orig.triples_labeled, or does not stand in the question"
    name = ids[0][1] if len(ids[0]) == 3 else relation_name(first[0])
    label = labels[0][1] if len(labels[0]) == 3 else ""
    asked = templates_of(filter(None, [hops[0].get("question", "")]), start)
    return Chain(
        edit,
        start,
        Relation(name, first[0], asked, label=label),
        Relation(f"{name}.{edit.relation}", whole[0], whole[1:], query=whole[0]),
    )


READER = reader_for(
    Form(
        name="MQuAKE",
        what="a MQuAKE file",
        rows=rows_of(Row),
        recognises=recognises,
        read=read,
        kinds=("composite", "coverage"),
        provenance="Zhong et al., MQuAKE: Assessing Knowledge Editing in Language Models via Multi-Hop Questions "
        "(EMNLP 2023), or in its form",
    )
)
