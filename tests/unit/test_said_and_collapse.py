"""What the model says, and what plain text costs it: programs and metrics by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tests.unit.knowledge_samples import make_relations

from pytest_editpitfalls.cases.case import Case, Edit, Relation
from pytest_editpitfalls.knowledge import Knowledge, KnownFact, Thing
from pytest_editpitfalls.pitfalls import compile_case, compute_metrics, metric_of, pitfall_of
from pytest_editpitfalls.pitfalls._neutral_texts import DIGEST, TEXTS
from pytest_editpitfalls.pitfalls._one_edit import OneEditRow
from pytest_editpitfalls.pitfalls.said import SaidRow
from pytest_editpitfalls.program import ProbeScore
from pytest_editpitfalls.verdicts.thresholds import judge, parse_thresholds

EDIT = Edit("P36", "France", "Paris", "Rome")
PARAPHRASES = tuple(f"Number {number}: the capital of {{}} is" for number in range(3))


def case(kind: str, row: Any) -> Case:
    return Case(kind, kind, "cases.jsonl", 0, row, (Relation("P36", "The capital of {} is", PARAPHRASES, "capital"),))


def said(names: tuple[str, ...] = ("Roma",)) -> Case:
    return case("said", SaidRow(id="P36-1", rule="P36", edits=(EDIT,), names=names, old_names=("Lutetia",)))


def test_the_program_of_said() -> None:
    program = compile_case(said())
    assert [(probe.fact, probe.state, probe.measure, probe.object) for probe in program.probes] == [
        ("new", "0", "probability", "Rome"),
        ("new", "1", "probability", "Rome"),
        ("true", "0", "probability", "Paris"),
        ("true", "1", "probability", "Paris"),
        ("said", "0", "said", "Rome"),
        ("said", "1", "said", "Rome"),
        ("said_only", "0", "said", "Rome"),
        ("said_only", "1", "said", "Rome"),
        ("said_old", "0", "said", "Paris"),
        ("said_old", "1", "said", "Paris"),
    ]
    generated = [probe for probe in program.probes if probe.measure == "said"]
    assert [probe.answers for probe in generated] == [("Rome", "Roma")] * 4 + [("Paris", "Lutetia")] * 2
    assert [probe.match for probe in generated] == [
        match for match in ("contains", "alias", "contains") for _ in range(2)
    ]
    assert len({probe.inputs for probe in program.probes}) == 1
    assert len(program.probes[0].inputs) == 4


def of(fact: str, state: str, *values: float, measure: Any = "said") -> ProbeScore:
    return ProbeScore(fact, state, values, measure=measure, texts=("...",) * len(values) if measure == "said" else ())


def test_said_by_hand() -> None:
    """Likelier after three of four prompts, said after one of them."""
    scores = [
        of("new", "0", 0.1, 0.1, 0.1, 0.3, measure="probability"),
        of("true", "0", 0.2, 0.2, 0.2, 0.2, measure="probability"),
        of("new", "1", 0.9, 0.9, 0.1, 0.9, measure="probability"),
        of("true", "1", 0.2, 0.2, 0.2, 0.2, measure="probability"),
        of("said", "0", 0.0, 0.0, 0.0, 0.0),
        of("said", "1", 1.0, 0.0, 0.0, 0.0),
        of("said_only", "0", 0.0, 0.0, 0.0, 0.0),
        of("said_only", "1", 0.0, 0.0, 0.0, 0.0),
        of("said_old", "0", 1.0, 1.0, 1.0, 1.0),
        of("said_old", "1", 0.0, 1.0, 1.0, 0.0),
    ]
    assert compute_metrics("said", scores) == {
        "es": 1.0,
        "ps": 2 / 3,
        "said": 0.25,
        "said_0": 0.0,
        "said_lift": 0.25,
        "forced": 0.75,
        "forced_0": 0.25,
        "forced_lift": 0.5,
        "gap": 0.5,
        "gap_0": 0.25,
        "gap_lift": 0.25,
        "said_only": 0.0,
        "said_only_0": 0.0,
        "said_only_lift": 0.0,
        "said_old": 0.5,
        "said_old_0": 1.0,
        "said_old_lift": -0.5,
    }
    unknown = compute_metrics("said", scores[:5])
    assert (unknown["said"], unknown["gap"], unknown["forced"]) == (None, None, 0.75)
    assert [
        result.passed
        for result in judge({"said": 0.25}, parse_thresholds(pitfall_of("said").thresholds, kind="said")).results
    ] == [False]


def test_the_program_of_collapse() -> None:
    program = compile_case(case("collapse", OneEditRow(id="P36-1", rule="P36", edits=(EDIT,))))
    assert [(probe.fact, probe.state, probe.measure) for probe in program.probes] == [
        ("new", "1", "probability"),
        ("true", "1", "probability"),
        ("text", "0", "perplexity"),
        ("text", "1", "perplexity"),
        ("drift", "1", "divergence"),
    ]
    assert program.probes[2].inputs == TEXTS
    assert all(text.startswith(start) for text, start in zip(TEXTS, program.probes[4].inputs, strict=True))


def collapse(before: tuple[float, ...], after: tuple[float, ...]) -> dict[str, float | None]:
    scores = [
        of("text", "0", *before, measure="perplexity"),
        of("text", "1", *after, measure="perplexity"),
        of("drift", "1", 0.1, 0.3, measure="divergence"),
    ]
    return compute_metrics("collapse", scores)


def test_collapse_by_hand() -> None:
    found = collapse((10.0, 40.0), (20.0, 80.0))
    assert found["perplexity_ratio"] == pytest.approx(2.0)
    assert found["worst_text_ratio"] == pytest.approx(2.0)
    assert (found["perplexity_0"], found["perplexity"]) == (pytest.approx(20.0), pytest.approx(40.0))
    assert found["drift"] == pytest.approx(0.2)
    assert collapse((10.0, 40.0), (11.0, 40.0))["survived"] == 1.0
    killed = collapse((10.0, 10.0), (10.0, 1e300))  # as much as a broken model's text can cost
    assert killed["survived"] == 0.0
    assert killed["perplexity_ratio"] == pytest.approx(math.sqrt(1e299))
    assert collapse((10.0,), (float("nan"),))["perplexity_ratio"] is None
    verdict = judge({"perplexity_ratio": 1.2}, parse_thresholds(pitfall_of("collapse").thresholds, kind="collapse"))
    assert [result.passed for result in verdict.results] == [False]


def test_the_definition_names_the_texts() -> None:
    """Figures over other texts are other figures: comparisons go by definitions."""
    metric = metric_of("collapse", "perplexity_ratio")
    assert metric is not None
    assert DIGEST in metric.definition
    assert DIGEST == "8dbe917c9172"


def test_names_of_both_objects_are_in_the_line(tmp_path: Path) -> None:
    facts = [
        KnownFact("France", "P36", "Paris", object_aliases=("Lutetia", "Paris"), object_kind="city"),
        KnownFact("Italy", "P36", "Rome", object_aliases=("Roma",), object_kind="city"),
        KnownFact("Japan", "P36", "Tokyo", object_kind="city"),
        KnownFact("Japan", "P36", "Kyoto", object_kind="city"),
        KnownFact("Japan", "P37", "Japanese"),
    ]
    knowledge = Knowledge(facts, make_relations(tmp_path))
    plan = pitfall_of("said").constructions["said"]
    groups = list(plan.groups(knowledge))
    assert "P36" in {group.relation for group in groups}
    assert "P37" not in {group.relation for group in groups}  # of several languages none is replaced
    candidates = [each for group in groups for each in plan.candidates(knowledge, group)]
    assert [each.edited.subject for each in candidates] == ["France", "Italy"]  # Japan has two

    def draw(pool: Any, fact: KnownFact, *, unlike: Any = ()) -> Thing:
        return next(thing for thing in pool if thing.label == "Rome")

    assert plan.row(knowledge, candidates[0], draw) == {
        "edits": [{"relation": "P36", "subject": "France", "object": "Paris", "new_object": "Rome"}],
        "names": ["Roma"],
        "old_names": ["Lutetia"],
    }
    killer = pitfall_of("collapse").constructions["collapse"].row(knowledge, candidates[0], draw)
    assert list(killer) == ["edits"]
