"""The examples of docs/facts-format.md are read as the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_editpitfalls.knowledge import KnownRelation, Rule, load_knowledge
from pytest_editpitfalls.knowledge.facts import FIELDS
from pytest_editpitfalls.knowledge.knowledge import MAX_FACTS
from pytest_editpitfalls.knowledge.readers import fact_readers

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "facts-format.md").read_text("utf-8")
EXAMPLES = dict(re.findall(r"^```([a-z ]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def relations(tmp_path: Path) -> Path:
    path = tmp_path / "relations.toml"
    path.write_text(EXAMPLES["toml relations"])
    return path


@pytest.mark.parametrize(("form", "name"), [("csv", "facts.csv"), ("json", "facts.jsonl"), ("nt", "facts.nt")])
def test_the_tables_of_facts(tmp_path: Path, relations: Path, form: str, name: str) -> None:
    (tmp_path / name).write_text(EXAMPLES[form])
    rules = tmp_path / "rules.toml"
    rules.write_text(EXAMPLES["toml rules"])
    knowledge = load_knowledge([tmp_path / name], relations, rules)
    assert knowledge.is_true("P36", "France", "Paris")
    assert not knowledge.report.lines()
    assert [other for _, other in knowledge.inverses("P36")] == ["P1376"]


def test_the_overrides(tmp_path: Path, relations: Path) -> None:
    (tmp_path / "overrides.csv").write_text(EXAMPLES["overrides"])
    (tmp_path / "facts.csv").write_text("subject,relation,object\nKazakhstan,P36,Nur-Sultan\n")
    knowledge = load_knowledge([tmp_path / "facts.csv"], relations)
    assert [fact.object for fact in knowledge.of("P36", "Kazakhstan")] == ["Astana"]


def test_every_column_field_and_suffix_is_described() -> None:
    names = [*FIELDS, *KnownRelation.model_fields, *Rule.model_fields]
    names += [suffix for reader in fact_readers() for suffix in reader.suffixes]
    assert [name for name in names if f"`{name}`" not in PAGE] == []
    assert f"{MAX_FACTS:,} best known facts" in PAGE
