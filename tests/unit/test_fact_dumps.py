"""Facts from Wikidata's JSON dumps and RDF N-Triples: what becomes one, and what is counted."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.knowledge_samples import (
    N_TRIPLES,
    WIKIDATA,
    as_array,
    as_lines,
    item,
    make_relations,
    statement,
    table,
)

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.knowledge import Knowledge, KnownFact, Relations, load_knowledge

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@pytest.fixture
def relations(tmp_path: Path) -> Relations:
    return make_relations(tmp_path)


def load(directory: Path, name: str, data: str | bytes, language: str = "en") -> Knowledge:
    path = directory / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return load_knowledge([path], directory / "relations.toml", language=language)


def found(knowledge: Knowledge) -> set[tuple[str, str, str]]:
    return {(fact.subject, fact.relation, fact.object) for fact in knowledge}


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("name", ["dump.json", "dump.jsonl", "pretty.json"])
def test_a_wikidata_dump(tmp_path: Path, relations: Relations, name: str, pack: str) -> None:
    text = {"dump.json": as_array, "dump.jsonl": as_lines, "pretty.json": lambda of: json.dumps(of, indent=1)}[name](
        WIKIDATA
    )
    knowledge = load(tmp_path, name + pack, PACK[pack](text.encode()))
    assert found(knowledge) == {
        ("France", "P36", "Paris"),
        ("France", "P37", "French"),
        ("Germany", "P36", "Berlin"),
        ("Germany", "P571", "1949"),
        ("Germany", "P1549", "German"),
        ("California", "P36-state", "Sacramento"),
        ("helium", "P1086", "2"),
        ("Paris", "P17", "France"),
    }
    (france,) = knowledge.of("P36", "French Republic")
    line = {"dump.json": 2, "dump.jsonl": 1, "pretty.json": 1}[name]
    assert france == KnownFact(
        subject="France",
        relation="P36",
        object="Paris",
        subject_aliases=("French Republic", "La France"),
        object_aliases=("City of Light",),
        subject_kind="country",
        object_kind="city",
        popularity=3,
        source="Wikidata",
        license="CC0-1.0",
        place=f"{name}{pack}:{line}",
    ), "the kind is the one that the relation asks of, though another stands before it"
    assert knowledge.report.left_out == {
        "the property is no relation that there are prompts for": sum(
            len(values)
            for entity in WIKIDATA
            for name, values in dict(entity["claims"]).items()
            if name in ("P31", "P999")
        ),
        "the statement is outdated (it has an end time)": 1,
        "the statement is deprecated": 1,
        "another statement is preferred to it": 1,
        "the object is not in language 'en'": 1,
        "the object is a day, and the relation has no objects of kind 'year'": 1,
        "the object is no date of the common era": 1,
        "the object is unknown, or there is none": 1,
        "subject is an id of Wikidata, not a label": 1,
        "the subject has no label in language 'en' in this file": 1,
        "the object has no label in language 'en' in this file": 1,
    }


def test_a_kind_may_be_a_class_above_the_one_that_is_named(tmp_path: Path, relations: Relations) -> None:
    """Wikidata says "commune of France", the relation asks of cities."""
    entities = [
        item("Q90", "Paris", P31=["Q484170"], P17=["Q142"]),
        item("Q142", "France", P31=["Q3624078"], P36=["Q90"]),
        item("Q484170", "commune of France", P279=["Q1", "Q2"]),
        item("Q1", "municipality", P279=["Q484170"]),
        item("Q2", "urban settlement", P279=["Q515"]),
        item("Q515", "city"),
        item("Q3624078", "sovereign state"),
    ]
    knowledge = load(tmp_path, "dump.json", as_array(entities))
    (paris,) = knowledge.of("P17", "Paris")
    assert (paris.subject_kind, paris.object_kind) == ("city", "sovereign state")
    assert knowledge.of("P36", "France")[0].object_kind == "city"
    assert {(fact.subject, fact.object) for fact in knowledge.facts("P279")} == {
        ("commune of France", "urban settlement"),
        ("urban settlement", "city"),
    }, "they are facts as well; those that run in a circle are none"


def test_labels_in_another_language(tmp_path: Path, relations: Relations) -> None:
    knowledge = load(tmp_path, "dump.json", as_array(WIKIDATA), language="de")
    assert ("France (de)", "P36", "Paris (de)") in found(knowledge)
    assert ("Germany (de)", "P1549", "Deutscher") in found(knowledge)


def test_the_label_that_stands_for_all_languages(tmp_path: Path, relations: Relations) -> None:
    france = item("Q142", "France", P36=["Q90"])
    paris = item("Q90")
    paris["labels"] = {"mul": {"language": "mul", "value": "Paris"}}
    assert found(load(tmp_path, "dump.jsonl", as_lines([france, paris]))) == {("France", "P36", "Paris")}


def test_facts_as_json_lines_are_told_from_a_dump(tmp_path: Path, relations: Relations) -> None:
    line = json.dumps({"subject": "France", "relation": "P36", "object": "Paris"})
    assert found(load(tmp_path, "facts.jsonl", line)) == {("France", "P36", "Paris")}
    with pytest.raises(UsageError, match=r"there is not one item of Wikidata\n  fix: .*facts as \.jsonl"):
        load(tmp_path, "facts.json", f"[{line}]")


@pytest.mark.parametrize("data", ["[]", "{}", "[1, 2]", '"text"', '{"entities": 3}', '[\n{"id": 7}\n]\n'])
def test_a_json_file_without_items(tmp_path: Path, relations: Relations, data: str) -> None:
    with pytest.raises(UsageError, match="there is not one item of Wikidata"):
        load(tmp_path, "dump.json", data)


def test_the_form_of_single_entities_is_read(tmp_path: Path, relations: Relations) -> None:
    entities = {entity["id"]: entity for entity in (item("Q142", "France", P36=["Q90"]), item("Q90", "Paris"))}
    assert found(load(tmp_path, "Q142.json", json.dumps({"entities": entities}))) == {("France", "P36", "Paris")}


@pytest.mark.parametrize("size", [1, 70_000, 65_500])
def test_an_array_on_one_line_and_a_first_entity_of_any_size(tmp_path: Path, relations: Relations, size: int) -> None:
    """What a file is like is seen by its first 65,536 bytes, which may end in the middle of an entity."""
    france, paris = item("Q142", "France", aliases=("x" * 400,), P36=["Q90"]), item("Q90", "Paris")
    for more in range(0, 200, 7):
        france["descriptions"] = {"fill": ["]" * (size + more)]}
        for text in (json.dumps([france, paris]), as_array([france, paris]), as_lines([france, paris])):
            assert found(load(tmp_path, "dump.json", text)) == {("France", "P36", "Paris")}
    with pytest.raises(UsageError, match="the file breaks off"):
        load(tmp_path, "dump.json", json.dumps([france, paris])[:-9])


def test_an_array_that_breaks_off_is_no_dump(tmp_path: Path, relations: Relations) -> None:
    text = as_array(WIKIDATA)
    lines = text.splitlines(keepends=True)
    for cut in ("".join(lines[:-1]), "".join(lines[:-3]), "".join(lines[:8]) + lines[8][:40]):
        with pytest.raises(UsageError, match="the file breaks off"):
            load(tmp_path, "dump.json", cut)
    with pytest.raises(UsageError, match="not valid JSON"):
        load(tmp_path, "pretty.json", json.dumps(WIKIDATA, indent=1)[:-30])


def test_a_line_of_a_dump_that_is_spoilt_is_counted(tmp_path: Path, relations: Relations) -> None:
    lines = as_array(WIKIDATA).splitlines(keepends=True)
    lines[5] = lines[5].replace("{", "", 1)
    lines.insert(3, "17,\n")
    knowledge = load(tmp_path, "dump.json", "".join(lines))
    assert ("France", "P36", "Paris") in found(knowledge)
    assert knowledge.report.left_out["the line is not valid JSON"] == 1
    assert knowledge.report.examples["the line is not valid JSON"] == "dump.json:7"
    assert knowledge.report.left_out["the line is no entity of Wikidata"] == 1


def test_an_entity_that_is_too_long_is_counted(
    tmp_path: Path, relations: Relations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_editpitfalls.knowledge.readers.wikidata_dump.LONGEST_ENTITY", 5000)
    long = item("Q1", "universe", aliases=("all " * 2000,), P36=["Q90"])
    knowledge = load(tmp_path, "dump.json", as_array([*WIKIDATA[:1], long, *WIKIDATA[1:]]))
    assert knowledge.report.left_out["the entity has more than 5,000 bytes"] == 1
    assert ("Germany", "P36", "Berlin") in found(knowledge)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"claims": {"P36": "Q90"}},
        {"claims": {"P36": [None, 3, {}, {"rank": []}, {"rank": "normal", "mainsnak": []}]}},
        {"claims": {"P36": [{"rank": "normal", "mainsnak": {"snaktype": "value", "datavalue": {"value": [1]}}}]}},
        {"claims": {"P569": [statement({"time": 7, "precision": 9}, kind="time")]}},
        {"claims": {"P1086": [statement({"amount": None, "unit": "1"}, kind="quantity")]}},
        {"claims": {"P36": [statement({"id": ["Q90"]}, kind="wikibase-entityid")]}},
        {"claims": {"P36": [{**statement("Q90"), "qualifiers": {"P582": 7}}]}},
        {"labels": {"en": "France"}, "aliases": {"en": [None, {"value": 7}]}, "claims": {"P36": [statement("Q90")]}},
        {"labels": {"en": {"value": 5}}, "aliases": {"en": 5}, "sitelinks": 4, "claims": {"P36": [statement("Q90")]}},
        {"labels": {"en": {"value": "a\ud800b"}}, "claims": {"P36": [statement("Q90")]}},
    ],
)
def test_entities_of_any_shape_do_no_harm(tmp_path: Path, relations: Relations, spoilt: dict[str, object]) -> None:
    entity = {"type": "item", "id": "Q7", "labels": {"en": {"value": "Mars"}}, **spoilt}
    text = as_array(WIKIDATA).replace("[\n", "[\n" + json.dumps(entity) + ",\n", 1)
    knowledge = load(tmp_path, "dump.json", text)
    assert ("Germany", "P36", "Berlin") in found(knowledge)
    assert not any(fact.subject == "Mars" for fact in knowledge)
    unspoilt = load(tmp_path, "dump.json", as_array(WIKIDATA))
    assert knowledge.report.left_out.total() > unspoilt.report.left_out.total(), "and it is counted"


@pytest.mark.parametrize("pack", PACK)
def test_n_triples(tmp_path: Path, relations: Relations, pack: str) -> None:
    knowledge = load(tmp_path, f"facts.nt{pack}", PACK[pack](N_TRIPLES.encode()))
    assert found(knowledge) == {
        ("France", "P36", "Paris"),
        ("France", "P571", "1792"),
        ("France", "P1549", "French"),
        ("California", "P36-state", "Sacramento"),
        ("helium", "P1086", "2"),
        ("Switzerland", "P37", "German"),
        ("Faust", "P31X", "Johann Wolfgang von Goethe"),
    }
    (france,) = knowledge.of("P36", "French Republic")
    assert (france.subject_kind, france.popularity, france.source) == ("country", 300, f"facts.nt{pack}")
    assert france.place == f"facts.nt{pack}:2"
    assert knowledge.report.left_out == {
        "the predicate is no relation that there are prompts for": 1,
        "the object is not in language 'en'": 1,
        "the object is a day, and the relation has no objects of kind 'year'": 1,
        "subject is an id of Wikidata, not a label": 1,
        "the subject or object is a blank node, which has no name": 1,
        "the line is not valid N-Triples": 1,
    }
    assert knowledge.report.examples["the line is not valid N-Triples"] == f"facts.nt{pack}:15"


def test_classes_above_classes_in_triples(tmp_path: Path, relations: Relations) -> None:
    names = {"Q90": "Paris", "Q142": "France", "C1": "commune of France", "C2": "city"}
    label = "<http://www.w3.org/2000/01/rdf-schema#label>"
    text = (
        "<x:Q90> <x:P17> <x:Q142> .\n<x:Q90> <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <x:C1> .\n"
        "<x:C1> <http://www.w3.org/2000/01/rdf-schema#subClassOf> <x:C2> .\n"
    ) + "".join(f'<x:{id}> {label} "{name}" .\n' for id, name in names.items())
    (paris,) = load(tmp_path, "facts.nt", text).of("P17", "Paris")
    assert paris.subject_kind == "city"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("_:a <x:P36> _:b .", "blank node"),
        ('_:a <http://www.w3.org/2000/01/rdf-schema#label> "a"@en .', "blank node"),
        ("<x:a> <x:P36> _:b .", "blank node"),
        ("<x:a> <x:P36> <<( <x:b> <x:c> <x:d> )>> .", "blank node"),
        ("<x:a> <http://www.w3.org/2000/01/rdf-schema#label> <x:b> .", None),
        ("<x:a> <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> _:b .", None),
        ('<x:a> <http://wikiba.se/ontology#sitelinks> "many" .', None),
        ("<x:a> <http://wikiba.se/ontology#sitelinks> <x:b> .", None),
        ('<x:a> <x:P569> "-0100-07-12T00:00:00Z"^^<http://www.w3.org/2001/XMLSchema#dateTime> .', "common era"),
        ('<x:a> <x:P569> "soon"^^<http://www.w3.org/2001/XMLSchema#date> .', "common era"),
        ('<x:a> <x:P36> "" .', "the object has no label|subject has no label"),
    ],
)
def test_triples_of_any_shape_do_no_harm(tmp_path: Path, relations: Relations, line: str, reason: str | None) -> None:
    whole = load(tmp_path, "facts.nt", N_TRIPLES)
    knowledge = load(tmp_path, "facts.nt", f"{N_TRIPLES}{line}\n")
    assert found(knowledge) == found(whole)
    more = knowledge.report.left_out - whole.report.left_out
    assert more.total() == (reason is not None), more
    assert reason is None or re.search(reason, next(iter(more)))


def test_triples_whose_things_have_no_name(tmp_path: Path, relations: Relations) -> None:
    line = "<http://x/entity/Q1> <http://x/P36> <http://x/entity/Q2> .\n"
    with pytest.raises(UsageError, match="1 record left out: the subject has no label in language 'en' in this file"):
        load(tmp_path, "facts.nt", line)


def test_a_triple_that_is_too_long_is_counted(tmp_path: Path, relations: Relations) -> None:
    long = f'<http://x/Q1> <http://www.w3.org/2000/01/rdf-schema#label> "{"a" * (1 << 20)}" .\n'
    knowledge = load(tmp_path, "facts.nt", long + N_TRIPLES)
    assert knowledge.report.left_out["the line has more than 1,048,576 bytes"] == 1
    assert ("France", "P36", "Paris") in found(knowledge)


def test_a_wrong_line_costs_no_other(tmp_path: Path, relations: Relations) -> None:
    """A parser that goes on after a wrong line may lose the line behind it."""
    lines = N_TRIPLES.splitlines(keepends=True)
    spoilt = "".join(line for pair in zip(["<a b> nonsense\n"] * len(lines), lines, strict=True) for line in pair)
    knowledge = load(tmp_path, "facts.nt", spoilt)
    assert found(knowledge) == found(load(tmp_path, "other.nt", N_TRIPLES))
    assert knowledge.report.left_out["the line is not valid N-Triples"] == len(lines) + 1


@pytest.mark.parametrize("name", ["dump.json", "dump.jsonl", "facts.nt"])
@pytest.mark.parametrize("pack", [".gz", ".bz2", ".xz"])
def test_a_packed_dump_that_breaks_off(tmp_path: Path, relations: Relations, name: str, pack: str) -> None:
    text = {"dump.json": as_array(WIKIDATA), "dump.jsonl": as_lines(WIKIDATA), "facts.nt": N_TRIPLES}[name]
    packed = PACK[pack](text.encode())
    with pytest.raises(UsageError, match="the file breaks off: its end is missing"):
        load(tmp_path, name + pack, packed[:-20])
    damaged = bytearray(packed)
    for place in range(len(damaged) // 2, len(damaged) // 2 + 8):
        damaged[place] ^= 0xFF
    with pytest.raises(UsageError, match=r"cannot be unpacked|is not UTF-8"):
        load(tmp_path, name + pack, bytes(damaged))


@pytest.mark.parametrize("name", ["dump.json", "facts.nt"])
def test_a_dump_that_is_not_utf_8(tmp_path: Path, relations: Relations, name: str) -> None:
    text = (
        {"dump.json": as_array(WIKIDATA), "facts.nt": N_TRIPLES}[name]
        .replace("Goethe", "Göthe")
        .replace("Bonn", "Bönn")
    )
    with pytest.raises(UsageError, match=r":\d+: the file is not UTF-8 \(invalid"):
        load(tmp_path, name, text.encode("latin-1"))
    for encoding in ("utf-16", "utf-16-be", "utf-32"):
        with pytest.raises(UsageError, match="UTF-16 or UTF-32"):
            load(tmp_path, name, text.encode(encoding))
    assert found(load(tmp_path, name, text.encode("utf-8-sig"))), "a byte order mark does no harm"


def test_a_disk_that_is_full(tmp_path: Path, relations: Relations, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    from pytest_editpitfalls.knowledge.readers._index import Index

    def full(self: Index) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Index, "_write", full)
    with pytest.raises(UsageError, match="disk is full\n  fix: set TMPDIR"):
        load(tmp_path, "facts.nt", N_TRIPLES)


def test_no_directory_for_temporary_files(
    tmp_path: Path, relations: Relations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    for name in ("facts.nt", "dump.json"):
        with pytest.raises(UsageError, match=r"among the temporary files: .*\n  fix: set TMPDIR"):
            load(tmp_path, name, N_TRIPLES)


def test_relations_without_ids_of_wikidata(tmp_path: Path) -> None:
    (tmp_path / "relations.toml").write_text(table("capital", "capital"))
    with pytest.raises(UsageError, match=r"no relation has an id of Wikidata\n  fix: .*for instance \[P36\]"):
        load(tmp_path, "dump.json", as_array(WIKIDATA))


@pytest.mark.parametrize(
    ("module", "name", "extra"), [("pyoxigraph", "f.nt", "rdf"), ("pyarrow", "f.parquet", "parquet")]
)
def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, relations: Relations, monkeypatch: pytest.MonkeyPatch, module: str, name: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf'needs {module}\n  fix: pip install "pytest-editpitfalls\[{extra}\]"'):
        load(tmp_path, name, "")


def test_no_index_is_left_behind(tmp_path: Path, relations: Relations, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    load(tmp_path, "facts.nt", N_TRIPLES)
    with pytest.raises(UsageError):
        load(tmp_path, "dump.json", as_array(WIKIDATA)[:-9])
    assert not list(temporary.iterdir())
