"""The documents say what the program does."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from pytest_editpitfalls import files
from pytest_editpitfalls.pitfalls import METRICS, PITFALLS, Edit, pitfall_of
from pytest_editpitfalls.results import records, run_records
from pytest_editpitfalls.results.checkpoint_records import CheckpointRecord, EditedWeightRecord
from pytest_editpitfalls.results.rerun_record import RerunRecord
from pytest_editpitfalls.suites.discovery import shipped_suites
from pytest_editpitfalls.suites.readers.own_format import OBJECTS, Header, HeldTable, ObjectsTable, RelationTable

DOCS = Path(__file__).resolve().parents[2] / "docs"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").replace("\\|", "∣").split("|")]


def test_every_metric_and_threshold_is_documented() -> None:
    text = (DOCS / "metrics.md").read_text("utf-8")
    table = {cells(line)[0].strip("`"): cells(line) for line in text.splitlines() if line.startswith("| `")}
    for name in METRICS:
        metric = METRICS.get(name)
        assert name in table
        _, title, *_ = table[name]
        assert title == metric.title
        assert table[name][3] == {True: "higher", False: "lower", None: "neither"}[metric.higher_is_better]
    for kind in PITFALLS:
        assert f"| {kind.name} | {', '.join(f'`{threshold}`' for threshold in kind.thresholds)} |" in text


@pytest.mark.parametrize("suites", [("coverage", "reverse", "composite"), ("easy", "hard")])
def test_the_published_tables_are_the_data(suites: tuple[str, ...]) -> None:
    text = (DOCS / "metrics.md").read_text("utf-8")
    kinds = [(suite, pitfall_of(shipped_suites()[suite])) for suite in suites]
    expected = []
    for model in ("gpt2-xl", "gpt-j"):
        for editor in ("ft", "mend", "rome", "memit", "memit+mle"):
            rows = [kind.published_row(suite, editor, [model]) for suite, kind in kinds]
            values = [100 * value for row in rows if row for value in row.metrics.values()]
            if None not in rows:
                numbers = " | ".join(f"{value:.2f}" for value in values)
                expected.append(f"| {model.upper()} {editor.upper()} | {numbers} |")
    assert len(expected) == (8 if "reverse" in suites else 10)
    assert "\n".join(expected) in text


def test_the_suite_formats_fields_are_documented() -> None:
    text = "".join((DOCS / page).read_text("utf-8") for page in ("suite-format.md", "pitfalls-since.md"))
    models: list[Any] = [Header, HeldTable, ObjectsTable, RelationTable, *(kind.row for kind in PITFALLS)]
    fields = {f"{model.__name__}.{field}": field for model in models for field in model.model_fields}
    fields |= {f"Edit.{each.name}": each.name for each in dataclasses.fields(Edit)}
    for where, field in fields.items():
        assert f"`{field}`" in text or f"`{field}[]`" in text, where


def test_the_documented_header_is_valid() -> None:
    text = (DOCS / "suite-format.md").read_text("utf-8")
    header, _, joiner, held = re.findall(r"```toml\n(.*?)```", text, re.S)
    assert Header.model_validate(files.tomllib.loads(header)).name == "capitals"
    whole = Header.model_validate(files.tomllib.loads(header + joiner + held))
    assert (whole.joiner, whole.held.scores, whole.held.paraphrases) == ("", ["mean", "sum"], 0.5)
    line, objects = re.findall(r"```json\n(.*?)```", text, re.S)
    assert pitfall_of("reverse").row.model_validate_json(line).id == "P36-0007"
    assert OBJECTS.validate_json(objects)["P36"].true == {"Bolivia": ["Sucre", "La Paz"]}


def test_the_result_fields_are_documented() -> None:
    text = (DOCS / "results-schema.md").read_text("utf-8")
    for model in (
        records.RunResults,
        records.CaseRecord,
        records.AggregateRecord,
        records.MetricAggregate,
        records.RelationInterval,
        records.GateRecord,
        run_records.RunRecord,
        CheckpointRecord,
        EditedWeightRecord,
        RerunRecord,
    ):
        for field in model.model_fields:
            assert f"`{field}`" in text or f"`{field}[]`" in text, f"{model.__name__}.{field}"
    for outcome in get_args(records.Outcome):
        assert f"`{outcome}`" in text


@pytest.mark.parametrize("page", ["metrics.md", "pitfalls-since.md"])
def test_no_paragraph_stands_inside_a_table(page: str) -> None:
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    for above, line in itertools.pairwise(lines):
        assert not line.startswith("|") or not above or above.startswith("|"), f"a row behind text: {line}"
