"""Facts, relations and rules: how they are read, and what is found in them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from unit.knowledge_samples import table

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.knowledge import Knowledge, KnownFact, Relations, load_knowledge, read_relations, read_rules
from pytest_editpitfalls.knowledge.facts import plain


@pytest.fixture
def relations(tmp_path: Path) -> Relations:
    path = tmp_path / "relations.toml"
    path.write_text(
        table("P36", "capital", functional=True, inverse_functional=True, names=["seat of government"])
        + table("P1376", "capital of", functional=True, inverse_functional=True)
        + table("P30", "continent", functional=True)
    )
    return read_relations(path)


RULES = """
[[rule]]
id = "P36>P1376"
shape = "inverse"
first = "P36"
second = "P1376"
strength = "strict"
words = "a country's capital is the capital of that country"
[[rule]]
id = "P1376&P30>P30"
shape = "composition"
tied = "P1376"
first = "P30"
second = "P30"
strength = "strict"
words = "a capital lies on the continent of its country"
"""


def test_a_relation_is_found_by_id_label_and_further_names_in_any_case(relations: Relations) -> None:
    for name in ("P36", "p36", "capital", "CAPITAL", "seat_of_government"):
        found = relations.named(name)
        assert found is not None
        assert found.id == "P36"
    with pytest.raises(UsageError, match=r"unknown relation 'captial'\n  fix: did you mean 'capital'"):
        relations.get_named("captial", where="edits.csv:2")


def test_two_relations_with_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "relations.toml"
    path.write_text(table("P36", "capital") + table("P1376", "capital of", names=["Capital"]))
    with pytest.raises(UsageError, match="relations P36 and P1376 are both called 'Capital'"):
        read_relations(path)


def test_a_rule_with_an_unknown_relation_is_named(tmp_path: Path, relations: Relations) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(RULES.replace('tied = "P1376"', 'tied = "P17"'))
    with pytest.raises(UsageError, match=r"rule 2 \(P1376&P30>P30\), field tied: unknown relation 'P17'"):
        read_rules(path, relations)


def test_a_rule_has_to_fit_its_shape(tmp_path: Path, relations: Relations) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(RULES.replace('tied = "P1376"\n', ""))
    with pytest.raises(UsageError, match="a composition has no tied relation"):
        read_rules(path, relations)


@pytest.mark.parametrize("name", ["facts.csv", "facts.csv.gz", "facts.jsonl", "facts.jsonl.gz"])
def test_facts_are_read_and_what_is_none_is_counted(tmp_path: Path, relations: Relations, name: str) -> None:
    if ".csv" in name:
        text = (
            "subject,relation,object,object_aliases,popularity,colour\n"
            "France,P36,Paris,City of Light|Lutetia,9,blue\nItaly,capital,Rome,,5,\n"
            ",P36,Oslo,,,\nPeru,P36,Lima,,many,\nMars,P99,Base,,,\nFrance,P36,paris,Paname,1,\n"
        )
    else:
        rows = [
            {"subject": "France", "relation": "P36", "object": "Paris", "object_aliases": ["City of Light", "Lutetia"]},
            {"subject": "Italy", "relation": "capital", "object": "Rome", "popularity": 5},
            {"subject": "", "relation": "P36", "object": "Oslo"},
            {"subject": "Peru", "relation": "P36", "object": "Lima", "popularity": "many"},
            {"subject": "Mars", "relation": "P99", "object": "Base"},
            {"subject": "France", "relation": "P36", "object": "paris", "object_aliases": "Paname"},
        ]
        text = "\n".join(json.dumps(row) for row in rows) + "\n"
    data = text.encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)

    knowledge = load_knowledge([path], relations.source)
    assert len(knowledge) == 2
    assert knowledge.is_true("P36", "france", "PARIS")
    assert knowledge.is_true("P36", "France", "lutetia")
    assert knowledge.is_true("P36", "France", "Paname"), "aliases of both rows count"
    assert not knowledge.is_true("P36", "France", "Rome")
    assert [fact.subject for fact in knowledge.to("P36", "Rome")] == ["Italy"]
    reasons = "\n".join(knowledge.report.lines())
    for reason in (
        "subject is empty",
        "popularity is no number",
        "relation 'P99' has no prompts",
        "the same fact stands there twice",
    ):
        assert f"1 record left out: {reason}" in reasons
    assert ("colour" in reasons) == (".csv" in name)


def test_a_column_that_is_missing_is_named(tmp_path: Path, relations: Relations) -> None:
    path = tmp_path / "facts.csv"
    path.write_text("subject,relation,objekt\nFrance,P36,Paris\n")
    with pytest.raises(UsageError, match=r"there is no column 'object'\n  fix: .*did you mean 'objekt'"):
        load_knowledge([path], relations.source)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"subject,relation,object\nM\xe9xico,P36,Lima\n", "the file is not UTF-8"),
        (b"subject,relation,object\n", "not one fact of a known relation"),
        (b'subject,relation,object\n"France,P36,Paris\n', "not valid CSV"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, relations: Relations, data: bytes, message: str) -> None:
    path = tmp_path / "facts.csv"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=message) as caught:
        load_knowledge([path], relations.source)
    assert "facts.csv" in str(caught.value)


def test_a_compressed_file_that_breaks_off_is_no_end_of_file(tmp_path: Path, relations: Relations) -> None:
    path = tmp_path / "facts.csv.gz"
    rows = "".join(f"subject {number * 7919 % 100003},P36,object {number}\n" for number in range(20_000))
    path.write_bytes(gzip.compress(f"subject,relation,object\n{rows}".encode())[:-4000])
    with pytest.raises(UsageError, match="the file breaks off"):
        load_knowledge([path], relations.source)


def test_a_suffix_that_nobody_reads_is_refused(tmp_path: Path, relations: Relations) -> None:
    path = tmp_path / "facts.xlsx"
    path.write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"no reader of facts knows this kind of file\n  fix: .*\.csv"):
        load_knowledge([path], relations.source)


def test_an_alias_stands_for_its_label_and_one_of_two_for_none(relations: Relations) -> None:
    knowledge = Knowledge(
        [
            KnownFact("United Kingdom", "P36", "London", subject_aliases=("Britain", "UK")),
            KnownFact("France", "P36", "Paris", subject_aliases=("Republic",)),
            KnownFact("Italy", "P36", "Rome", subject_aliases=("Republic",)),
        ],
        relations,
    )
    assert knowledge.of("P36", "britain")[0].object == "London"
    assert not knowledge.of("P36", "Republic")


def test_rules_are_found_by_the_relations_they_join(tmp_path: Path, relations: Relations) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    knowledge = Knowledge([KnownFact("France", "P36", "Paris")], relations, read_rules(path, relations))
    assert [other for _, other in knowledge.inverses("P1376")] == ["P36"]
    assert [rule.id for rule in knowledge.compositions(first="P30")] == ["P1376&P30>P30"]
    assert not list(knowledge.compositions(tied="P36"))


@pytest.mark.parametrize(
    ("one", "other"), [("Côte d'Ivoire", "cote d ivoire"), ("U.S.", "u s"), ("São  Paulo", "sao paulo"), ("+", "+")]
)
def test_labels_are_compared_without_accents_case_and_punctuation(one: str, other: str) -> None:
    assert plain(one) == other
