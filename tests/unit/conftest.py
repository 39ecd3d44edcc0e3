"""A small valid suite of every kind to start from, and the published files where they are present."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(os.environ.get("EDITPITFALLS_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))

HEADER = {
    "format": 1,
    "name": "small",
    "license": "CC0-1.0",
    "provenance": "made for this test",
    "relations": "relations.toml",
    "cases": "small.jsonl",
    "thresholds": [],
}
RELATIONS = {
    name: {"label": label, "prompt": prompt, "paraphrases": [f"{word}, {{}} has" for word in "abcdefghij"]}
    for name, label, prompt in (
        ("P36", "capital", "The capital of {} is"),
        ("P1376", "capital of", "{} is the capital of"),
        ("P17", "country", "The country of {} is"),
        ("P279", "subclass", "{} is a kind of"),
    )
}


def edit(relation: str, subject: str, before: str, after: str) -> dict[str, str]:
    return {"relation": relation, "subject": subject, "object": before, "new_object": after}


def fact(relation: str, subject: str, object_: str) -> dict[str, str]:
    return {"relation": relation, "subject": subject, "object": object_}


LINES: dict[str, list[dict[str, Any]]] = {
    "reverse": [
        {
            "id": "P36-0000",
            "rule": "P36>P1376",
            "edits": [edit("P36", "France", "Paris", "Rome"), edit("P1376", "Rome", "France", "Spain")],
        },
        {
            "id": "P36-0001",
            "rule": "P36>P1376",
            "edits": [edit("P36", "Japan", "Tokyo", "Oslo"), edit("P1376", "Oslo", "Japan", "Peru")],
        },
    ],
    "composite": [
        {
            "id": "P17-0000",
            "rule": "P17&P36>P279",
            "edits": [edit("P36", "France", "Paris", "Rome"), edit("P279", "Lyon", "Paris", "Oslo")],
            "tied": {"relation": "P17", "subject": "Lyon", "object": "France"},
        },
        {
            "id": "P17-0001",
            "rule": "P17&P36>P279",
            "edits": [edit("P36", "Japan", "Tokyo", "Rome"), edit("P279", "Kobe", "Tokyo", "Oslo")],
            "tied": {"relation": "P17", "subject": "Kobe", "object": "Japan"},
        },
    ],
    "coverage": [
        {
            "id": "P36-0000",
            "rule": "P36",
            "edits": [edit("P36", "France", "Paris", "Rome"), edit("P36", "France", "Rome", "Oslo")],
        },
        {
            "id": "P36-0001",
            "rule": "P36",
            "edits": [edit("P36", "Japan", "Tokyo", "Rome"), edit("P36", "Japan", "Rome", "Oslo")],
        },
    ],
    "round": [
        {
            "id": "P279-0000",
            "rule": "P279",
            "edits": [edit("P279", "oak", "tree", "fish")],
            "true_objects": ["plant", "tree", "living thing"],
        },
        {
            "id": "P279-0001",
            "rule": "P279",
            "edits": [edit("P279", "trout", "fish", "tree")],
            "true_objects": ["fish", "animal"],
        },
    ],
    "edits": [
        {
            "id": "P36-0000",
            "rule": "P36",
            "edits": [edit("P36", "France", "Paris", "Rome")],
            "siblings": [fact("P36", "France", "Lyon")],
            "others": [fact("P279", "France", "country")],
            "ties": [fact("P17", "Nice", "France")],
            "neighbours": [fact("P36", "Peru", "Lima"), fact("P36", "Japan", "Tokyo")],
            "inverses": [edit("P1376", "Rome", "Italy", "France")],
            "conclusions": [edit("P36", "Nice", "Paris", "Rome")],
            "expectations": [edit("P279", "Nice", "Paris", "Rome")],
        },
        {"id": "P36-0001", "rule": "P36", "edits": [edit("P36", "Japan", "Tokyo", "Oslo")]},
    ],
    "locality": [
        {
            "id": "P279-0000",
            "rule": "P279",
            "edits": [edit("P279", "oak", "tree", "fish")],
            "neighbours": [fact("P279", "elm", "tree"), fact("P279", "ash", "tree")],
        },
        {
            "id": "P279-0001",
            "rule": "P279",
            "edits": [edit("P279", "trout", "fish", "tree")],
            "neighbours": [fact("P279", "carp", "fish")],
        },
    ],
    "distraction": [
        {
            "id": "P36-0000",
            "rule": "P36",
            "edits": [edit("P36", "France", "Paris", "Rome")],
            "abouts": [fact("P279", "Paris", "city")],
            "hops": [fact("P17", "Bergen", "Norway")],
        },
        {
            "id": "P36-0001",
            "rule": "P36",
            "edits": [edit("P36", "Japan", "Tokyo", "Rome")],
            "abouts": [fact("P279", "Tokyo", "city")],
        },
    ],
    "inverse": [
        {
            "id": f"P36-000{number}",
            "rule": "P36>P1376",
            "edits": [edit("P36", country, capital, "Rome")],
            "reversed": edit("P1376", "Rome", "Italy", country),
            "denials": ["It is not true that {}", "Nobody says that {}"],
        }
        for number, (country, capital) in enumerate((("France", "Paris"), ("Japan", "Tokyo")))
    ],
    "same_subject": [
        {
            "id": "P36-0000",
            "rule": "P36",
            "edits": [edit("P36", "France", "Paris", "Rome")],
            "others": [fact("P279", "France", "country")],
            "related": [fact("P17", "France", "Europe")],
        },
        {
            "id": "P36-0001",
            "rule": "P36",
            "edits": [edit("P36", "Japan", "Tokyo", "Rome")],
            "others": [fact("P279", "Japan", "island"), fact("P17", "Japan", "Asia")],
        },
    ],
    "superficial": [
        {
            "id": f"P36-000{number}",
            "rule": "P36",
            "edits": [edit("P36", country, capital, "Rome")],
            "repeated": f"{capital} {capital}",
            "question": f"Is it {capital}?",
        }
        for number, (country, capital) in enumerate((("France", "Paris"), ("Japan", "Tokyo")))
    ],
    "ripple": [
        {
            "id": "P36-0000",
            "rule": "P17&P36>P279",
            "edits": [edit("P36", "France", "Paris", "Rome")],
            "premises": [fact("P17", "Lyon", "France")],
            "aliases": [edit("P36", "Gallia", "Paris", "Rome")],
            "logical": [edit("P1376", "Rome", "Italy", "France")],
            "onward": [edit("P17", "France", "Gaul", "Italy")],
            "backward": [edit("P279", "Lyon", "Paris", "Rome")],
            "others": [fact("P17", "France", "Europe")],
        },
        {
            "id": "P17-0001",
            "rule": "P17&P36>P279 of the new object",
            "edits": [edit("P17", "Kobe", "Japan", "Peru")],
            "premises": [fact("P36", "Peru", "Lima")],
            "onward": [edit("P279", "Kobe", "Tokyo", "Lima")],
        },
    ],
    "deduction": [
        {
            "id": "P279-0000",
            "rule": "P17&P36>P279",
            "edits": [edit("P279", "Lyon", "Paris", "Rome")],
            "chains": [[fact("P17", "Lyon", "France"), fact("P36", "France", "Paris")]],
        },
        {
            "id": "P279-0001",
            "rule": "P17&P36>P279",
            "edits": [edit("P279", "Kobe", "Tokyo", "Rome")],
            "chains": [
                [fact("P17", "Kobe", "Japan"), fact("P36", "Japan", "Tokyo")],
                [fact("P17", "Kobe", "Japan"), fact("P1376", "Japan", "Nippon"), fact("P36", "Nippon", "Tokyo")],
            ],
        },
    ],
    "append": [
        {
            "id": "P279-0000",
            "rule": "P279",
            "edits": [edit("P279", "oak", "tree", "fish")],
            "others": ["plant"],
            "also_true": ["living thing"],
            "false_objects": ["metal", "tool"],
        },
        {
            "id": "P279-0001",
            "rule": "P279",
            "edits": [edit("P279", "trout", "fish", "tree")],
            "others": ["animal"],
            "false_objects": ["metal"],
        },
    ],
    "round_trips": [
        {
            "id": "P279-0000",
            "rule": "P279",
            "edits": [edit("P279", "oak", "tree", "fish")],
            "others": ["plant"],
            "also_true": ["living thing"],
        },
        {"id": "P279-0001", "rule": "P279", "edits": [edit("P279", "trout", "fish", "tree")], "others": ["animal"]},
    ],
    "lifelong": [
        {
            "id": "set-1-0001",
            "rule": "set-1",
            "edits": [edit("P36", f"Land {n}", f"Old {n}", f"New {n}") for n in range(10)],
            "others": [fact("P36", "Peru", "Lima")],
        },
        {"id": "set-1-0002", "rule": "set-1", "edits": [edit("P36", f"L {n}", "Old", "New") for n in range(2)]},
    ],
    "collapse": [
        {"id": f"P36-000{number}", "rule": "P36", "edits": [edit("P36", country, capital, "Rome")]}
        for number, (country, capital) in enumerate((("France", "Paris"), ("Japan", "Tokyo")))
    ],
    "said": [
        {
            "id": "P36-0000",
            "rule": "P36",
            "edits": [edit("P36", "France", "Paris", "Rome")],
            "names": ["Roma"],
            "old_names": ["Lutetia"],
        },
        {"id": "P36-0001", "rule": "P36", "edits": [edit("P36", "Japan", "Tokyo", "Rome")]},
    ],
}


def toml_value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


class SmallSuite:
    """A suite in memory that a test can spoil before it is written to disk."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.directory = directory
        self.header: dict[str, Any] = {**copy.deepcopy(HEADER), "kind": kind}
        self.relations: dict[str, dict[str, Any]] = copy.deepcopy(RELATIONS)
        self.lines = copy.deepcopy(LINES[kind])

    def write(self) -> Path:
        header = self.directory / "small.toml"
        header.write_text("".join(f"{key} = {toml_value(value)}\n" for key, value in self.header.items()), "utf-8")
        tables = (
            f"[{name}]\n" + "".join(f"{key} = {toml_value(value)}\n" for key, value in table.items())
            for name, table in self.relations.items()
        )
        (self.directory / "relations.toml").write_text("\n".join(tables), "utf-8")
        lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.lines)
        (self.directory / "small.jsonl").write_text(lines, "utf-8")
        return header


@pytest.fixture
def small_suite(tmp_path: Path) -> Callable[[str], SmallSuite]:
    return lambda kind: SmallSuite(tmp_path, kind)


@pytest.fixture(scope="session")
def published() -> Path:
    """The directory of the benchmark's published files."""
    path = SHARED / "data" / "pitfalls"
    if not path.is_dir():
        pytest.skip(f"the published files are not present ({path.name})")
    return path


@pytest.fixture(scope="session")
def golden() -> Path:
    """The directory of what the released code computes."""
    path = SHARED / "golden"
    if not path.is_dir():
        pytest.skip(f"the reference figures are not present ({path.name})")
    return path
