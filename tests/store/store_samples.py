"""Cases, headers and records for the tests of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_editpitfalls.cases.case import Relation
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.pitfalls import Case, Edit, compile_case
from pytest_editpitfalls.pitfalls.reverse import ReverseRow
from pytest_editpitfalls.program import CaseScores, ProbeScore
from pytest_editpitfalls.store.directory import Store
from pytest_editpitfalls.store.identity import ModelName, RunHeader, case_key
from pytest_editpitfalls.store.stored_case import StoredCase

RELATIONS = (
    Relation("P36", "The capital of {} is", ("{}'s capital is",)),
    Relation("P1376", "{} is the capital of", ("{}, capital of",)),
)

CASE = Case(
    suite="reverse",
    kind="reverse",
    source="reverse.jsonl",
    source_index=0,
    row=ReverseRow(
        id="P36-0000",
        rule="P36>P1376",
        edits=(Edit("P36", "France", "Paris", "Rome"), Edit("P1376", "Rome", "France", "Spain")),
    ),
    relations=RELATIONS,
)

HEADER = RunHeader(
    editor="rome",
    hyperparameters={"layers": [8], "v_lr": 0.5, "mom2_corpus": None, "norm_constraint": None},
    editor_facts={},
    editor_source="e" * 64,
    fingerprint="f" * 64,
    seed=0,
    dtype="float32",
    versions={"torch": "2.13.0", "transformers": "5.23.0"},
    engine_source="a" * 64,
    takes_suite=False,
    once=None,
    models=(ModelName(label="tiny", source="models/tiny"),),
    description={"model": {"name": "models/tiny", "label": "tiny"}, "editor": {"context_templates": None}},
)


def header(**changes: Any) -> RunHeader:
    return RunHeader.model_validate(HEADER.model_dump() | changes)


def changed(one: Case = CASE, **fields: Any) -> Case:
    """The case with other fields of its row."""
    return replace(one, row=one.row.model_copy(update=fields))


def case(number: int) -> Case:
    return replace(changed(id=f"P36-{number:04d}"), source_index=number)


def scores(one: Case, values: Sequence[float] = (0.25, 0.5), **facts: Any) -> CaseScores:
    probes = tuple(ProbeScore(probe.fact, probe.state, tuple(values)) for probe in compile_case(one).probes)
    return CaseScores(one.id, **({"probes": probes, "held_parts": {"edit1": True}, "seconds": 0.5} | facts))


def record(number: int = 0, of: RunHeader = HEADER, **facts: Any) -> StoredCase:
    one = case(number)
    program = compile_case(one)
    key = case_key(of, one, program)
    return StoredCase.of(key, of, one, program, scores(one, **facts), model="tiny")


def filled(path: Path, cases: int = 3, headers: Sequence[RunHeader] = (HEADER,)) -> Store:
    store = Store.open(path)
    for of in headers:
        assert store.put_header(of)
        assert all(store.put(record(number, of)) for number in range(cases))
    return store


def description(**model: Any) -> dict[str, Any]:
    """What `EngineSession.describe` says."""
    return {
        "editor": {"editor": "rome", "hyperparameters": {}, "context_templates": None, "second_moment": None},
        "model": {
            "name": "models/tiny",
            "label": "tiny",
            "fingerprint": "f" * 64,
            "layers": 30,
            "dtype": "float32",
            "device": "cpu",
            **model,
        },
        "seed": 0,
        "versions": {"torch": "2.13.0", "transformers": "5.23.0", "python": "3.13.1"},
        "threads": 2,
        "seconds": {"load": 1.5},
    }


def settings(**changes: Any) -> EngineSettings:
    return EngineSettings("models/tiny", **changes)
