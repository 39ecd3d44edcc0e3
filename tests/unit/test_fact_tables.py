"""Tables of facts as CSV, JSON Lines and Parquet: whatever is wrong with them is named or counted."""

from __future__ import annotations

import bz2
import csv
import datetime
import gzip
import io
import json
import lzma
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from unit.knowledge_samples import make_relations

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.knowledge import Knowledge, KnownFact, Relations, load_knowledge
from pytest_editpitfalls.knowledge.facts import ALIASES, FIELDS, BadFact, fact_from
from pytest_editpitfalls.knowledge.readers import read_facts
from pytest_editpitfalls.knowledge.reading import MAX_REASONS, SHOWN_REASONS, Reading, ReadingReport

FRANCE: dict[str, Any] = {"subject": "France", "relation": "P36", "object": "Paris"}
PERU: dict[str, Any] = {"subject": "Peru", "relation": "P36", "object": "Lima"}


def write_csv(rows: list[dict[str, Any]]) -> bytes:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in rows:
        values = (row.get(name) for name in columns)
        writer.writerow(["|".join(value) if isinstance(value, list | tuple) else value for value in values])
    return text.getvalue().encode("utf-8", "surrogatepass")


def write_json_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write_parquet(rows: list[dict[str, Any]]) -> bytes:
    data = io.BytesIO()
    columns = dict.fromkeys(name for row in rows for name in row)
    parquet.write_table(pyarrow.Table.from_pylist([dict.fromkeys(columns) | row for row in rows]), data)
    return data.getvalue()


Write = Callable[[list[dict[str, Any]]], bytes]
WRITERS: dict[str, Write] = {".csv": write_csv, ".jsonl": write_json_lines, ".parquet": write_parquet}
every_form = pytest.mark.parametrize("form", WRITERS)


@pytest.fixture
def relations(tmp_path: Path) -> Relations:
    return make_relations(tmp_path)


def load(directory: Path, name: str, data: bytes) -> Knowledge:
    path = directory / name
    path.write_bytes(data)
    return load_knowledge([path], directory / "relations.toml")


def refusal(directory: Path, name: str, data: bytes) -> str:
    try:
        load(directory, name, data)
    except UsageError as error:
        return str(error)
    return ""


@every_form
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"subject": ""}, "subject is empty"),
        ({"object": "  "}, "object is empty"),
        ({"relation": ""}, "relation is empty"),
        ({"object": "Q90"}, "object is an id of Wikidata, not a label"),
        ({"subject": "L301993-S1"}, "subject is an id of Wikidata, not a label"),
        ({"object": "Pa\x07ris"}, "object holds a control character"),
        ({"object": "Paris\nTexas"}, "object holds a control character"),
        ({"object": "Pa\u202eris"}, "object holds a control character"),
        ({"object": "Par\ue000is"}, "object holds a control character"),
        ({"object": "a" * 501}, "object has more than 500 characters"),
        ({"object_aliases": ["a" * 501]}, "object_aliases has more than 500 characters"),
        ({"popularity": float("nan")}, "popularity is negative or not finite"),
        ({"popularity": float("inf")}, "popularity is negative or not finite"),
        ({"popularity": -1.0}, "popularity is negative or not finite"),
        ({"subject_article": "der"}, "subject_article is none of nothing, the, a, an"),
        ({"subject_number": "dual"}, "subject_number is none of nothing, singular, plural"),
    ],
)
def test_a_record_that_is_no_fact_is_counted(
    tmp_path: Path, relations: Relations, form: str, row: dict[str, Any], reason: str
) -> None:
    knowledge = load(tmp_path, f"facts{form}", WRITERS[form]([PERU, FRANCE | row]))
    assert [fact.subject for fact in knowledge] == ["Peru"]
    assert knowledge.report.left_out == {reason: 1}
    assert knowledge.report.examples[reason].startswith(f"facts{form}")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"subject": "France", "relation": "P36", "object": "Paris", "object": "Lyon"}', "a field stands twice"),
        ('{"subject": "France", "relation": "P36", "object": ["Paris"]}', "object is no text"),
        ('{"subject": true, "relation": "P36", "object": "Paris"}', "subject is no text"),
        ('{"subject": "France", "relation": "P36", "object": null}', "object is empty"),
        ('{"subject": "France", "relation": "P36", "object": "Paris", "popularity": [1]}', "popularity is no number"),
        (
            '{"subject": "France", "relation": "P36", "object": "Paris", "popularity": 1%s}' % ("0" * 400),
            "is no number",
        ),
        (
            '{"subject": "France", "relation": "P36", "object": "Paris", "popularity": true}',
            "popularity is negative or",
        ),
        ('{"subject": "France", "relation": "P36", "object": "Paris", "object_aliases": {}}', None),
        (
            '{"subject": "France", "relation": "P36", "object": "Paris", "object_aliases": {"a": 1}}',
            "neither a list nor",
        ),
        ('{"subject": "France", "relation": "P36", "object": "Paris", "object_aliases": [["a"]]}', "is no text"),
        ('{"subject": "France", "relation": "P36", "object": "\\ud800"}', "object holds a control character"),
        ('{"subject": "France", "relation": "P36"', "the line is not valid JSON"),
        ('{"popularity": 1%s}' % ("0" * 5000), "the line is not valid JSON"),
        ("[" * 100_000, "the line is not valid JSON"),
        ('["France", "P36", "Paris"]', "the line is no JSON object"),
        ('{"subject": "%s"}' % ("a" * (1 << 20)), "the line has more than 1,048,576 bytes"),
    ],
)
def test_a_line_of_json_that_is_no_fact_is_counted(
    tmp_path: Path, relations: Relations, line: str, reason: str | None
) -> None:
    knowledge = load(tmp_path, "facts.jsonl", f"{json.dumps(PERU)}\n{line}\n\n{json.dumps(PERU)}\n".encode())
    others = {
        found: count for found, count in knowledge.report.left_out.items() if "twice" not in found or "field" in found
    }
    assert knowledge.report.left_out["the same fact stands there twice"] == 1, "the line behind it is read"
    assert list(others.values()) == ([] if reason is None else [1])
    assert reason is None or reason in next(iter(others))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject,relation,object,object\nFrance,P36,Paris,Lyon\n", r"facts.csv:1: there are 2 columns 'object'"),
        ("subject;relation;object\nFrance;P36;Paris\n", r"no column 'subject'\n  fix: .*separated by commas"),
        ("\n\n", "the file is empty"),
        ("subject,relation,object\n" + "a" * (1 << 20) + "aa\n", r"facts.csv:2: a line of more than 1,048,576 bytes"),
        (
            'subject,relation,object\n"France,P36,Paris\n' + "Peru,P36,Lima\n" * 20_000,
            "quotation mark that is not closed",
        ),
        ('subject,relation,object\n"France"x,P36,Paris\n', "facts.csv:2: not valid CSV"),
        ("subject,relation,object\nM\xe9xico,P36,M\xe9xico\n", None),
    ],
)
def test_a_csv_file_that_is_refused(tmp_path: Path, relations: Relations, text: str, message: str | None) -> None:
    with pytest.raises(UsageError, match=message or r"facts.csv:2: the file is not UTF-8 \(invalid"):
        load(tmp_path, "facts.csv", text.encode("latin-1"))


def test_lines_of_csv_with_too_few_or_too_many_fields_are_counted(tmp_path: Path, relations: Relations) -> None:
    text = "subject,relation,object\nFrance,P36\nFrance,P36,Paris,France\n\nPeru,P36,Lima"
    report = load(tmp_path, "facts.csv", text.encode()).report
    assert report.read == 1
    assert report.left_out == {
        "the line has fewer fields than the header": 1,
        "the line has more fields than the header": 1,
    }


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("form", [".csv", ".jsonl"])
def test_byte_order_marks(tmp_path: Path, relations: Relations, form: str, encoding: str) -> None:
    data = WRITERS[form]([FRANCE]).decode().encode(encoding)
    if encoding == "utf-8-sig":
        assert load(tmp_path, f"facts{form}", data).is_true("P36", "France", "Paris")
    else:
        with pytest.raises(UsageError, match="the file is UTF-16 or UTF-32\n  fix: save it as UTF-8"):
            load(tmp_path, f"facts{form}", data)


@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
def test_tabs(tmp_path: Path, relations: Relations, line_end: str) -> None:
    data = line_end.join(["subject\trelation\tobject\tobject_aliases", "France\tP36\tParis\tCity of Light|Lutetia", ""])
    for name, packed in (("facts.tsv", data.encode()), ("facts.tsv.gz", gzip.compress(data.encode()))):
        assert load(tmp_path, name, packed).is_true("P36", "France", "Lutetia")


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("facts.csv.gz", gzip.compress),
        ("facts.csv.bz2", bz2.compress),
        ("FACTS.CSV.XZ", lzma.compress),
        ("facts.csv", gzip.compress),
        ("facts.csv.gz", bytes),
        ("facts.csv.bz2", lambda data: bz2.compress(data[:30]) + bz2.compress(data[30:])),
    ],
    ids=["gz", "bz2", "xz", "packed under a plain name", "unpacked by a browser", "in two streams"],
)
def test_how_a_file_is_packed_is_seen_by_its_content(
    tmp_path: Path, relations: Relations, name: str, packed: Callable[[bytes], bytes]
) -> None:
    assert load(tmp_path, name, packed(write_csv([FRANCE]))).is_true("P36", "France", "Paris")


@pytest.mark.parametrize("form", [".csv", ".jsonl"])
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_a_packed_table_that_breaks_off(
    tmp_path: Path, relations: Relations, form: str, pack: Callable[[bytes], bytes]
) -> None:
    numbers = random.Random(0)
    rows = [FRANCE | {"subject": f"subject {numbers.random()}"} for _ in range(5000)]
    with pytest.raises(UsageError, match="the file breaks off"):
        load(tmp_path, f"facts{form}.gz", pack(WRITERS[form](rows))[:-3000])


@every_form
@pytest.mark.parametrize("keep", [0, 3, 8, 120, -1, -200])
def test_a_table_that_breaks_off(tmp_path: Path, relations: Relations, form: str, keep: int) -> None:
    """Parquet has its table of contents at the end; of text no more than a line is lost, and that is counted."""
    rows = [FRANCE | {"subject": f"subject {number}", "object": f"object {number}"} for number in range(50)]
    data = WRITERS[form](rows)[:keep]
    if form == ".parquet":
        with pytest.raises(UsageError, match=r"facts\.parquet: the file cannot be read as Parquet: "):
            load(tmp_path, f"facts{form}", data)
        return
    if message := refusal(tmp_path, f"facts{form}", data):
        assert keep in (0, 3, 8), message
        return
    report = load(tmp_path, f"facts{form}", data).report
    whole = data.count(b"\n") - (form == ".csv")
    assert whole <= report.read + report.left_out.total() <= whole + 1


def test_a_parquet_file_with_spoilt_bytes_is_named(tmp_path: Path, relations: Relations) -> None:
    rows = [FRANCE | {"subject": f"subject {number}"} for number in range(2000)]
    good = write_parquet(rows)
    messages = []
    for start in range(4, len(good) - 200, max(1, len(good) // 40)):
        data = bytearray(good)
        data[start : start + 64] = b"\xff" * 64
        messages.append(refusal(tmp_path, "facts.parquet", bytes(data)))
    refused = [message for message in messages if message]
    assert len(refused) > 10
    assert all("facts.parquet: the file cannot be read as Parquet" in message for message in refused)


def parquet_of(**columns: Any) -> bytes:
    data = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), data)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "values", "fix"),
    [
        ("subject", pyarrow.array([1.5]), "write it as text"),
        ("object", pyarrow.array([{"label": "Paris"}]), "write it as text"),
        ("object", pyarrow.array([b"Paris"]), "write it as text"),
        ("relation", pyarrow.array([36]), "write it as text"),
        ("subject_kind", pyarrow.array([True]), "write it as text"),
        ("subject_aliases", pyarrow.array([[1, 2]]), "write it as text or a list of texts"),
        ("subject_aliases", pyarrow.array([[["a"]]]), "write it as text or a list of texts"),
        ("popularity", pyarrow.array(["9"]), "write it as a number"),
        ("date", pyarrow.array([1.5]), "write it as text, a year or a date"),
    ],
)
def test_a_parquet_column_of_a_wrong_type_is_refused(
    tmp_path: Path, relations: Relations, name: str, values: Any, fix: str
) -> None:
    columns = {key: pyarrow.array([value]) for key, value in FRANCE.items()} | {name: values}
    with pytest.raises(UsageError, match=rf"column '{name}' is of type .*\n  fix: {fix}"):
        load(tmp_path, "facts.parquet", parquet_of(**columns))


def test_parquet_columns_that_are_missing_double_or_unknown(tmp_path: Path, relations: Relations) -> None:
    with pytest.raises(UsageError, match=r"there is no column 'object'\n  fix: add it; did you mean 'objects'"):
        load(tmp_path, "facts.parquet", parquet_of(subject=["France"], relation=["P36"], objects=["Paris"]))
    twice = pyarrow.table([["France"], ["P36"], ["Paris"], ["Lyon"]], names=["subject", "relation", "object", "object"])
    data = io.BytesIO()
    parquet.write_table(twice, data)
    with pytest.raises(UsageError, match="there are 2 columns 'object'"):
        load(tmp_path, "facts.parquet", data.getvalue())
    report = load(tmp_path, "facts.parquet", write_parquet([FRANCE | {"colour": "blue"}])).report
    assert report.notes == ["facts.parquet: columns that are not read: colour"]


def test_what_parquet_can_hold(tmp_path: Path, relations: Relations) -> None:
    data = parquet_of(
        subject=pyarrow.array(["France", "Peru", None, "helium"]).dictionary_encode(),
        relation=["P36", "P36", "P36", "P1086"],
        object=pyarrow.array(["Paris", "Lima", "Oslo", "2"], pyarrow.large_string()),
        subject_aliases=[["La France", None, "", "French Republic"], None, [], []],
        object_aliases=[None, "City of Kings|Ciudad de los Reyes", None, None],
        popularity=pyarrow.array([3, None, None, 1], pyarrow.int32()),
        date=[datetime.date(2024, 5, 1), None, None, None],
        license=pyarrow.nulls(4),
    )
    knowledge = load(tmp_path, "facts.parquet", data)
    (france,) = knowledge.of("P36", "French Republic")
    assert (france.subject_aliases, france.popularity, france.date) == (
        ("La France", "French Republic"),
        3,
        "2024-05-01",
    )
    assert france.place == "facts.parquet, row 1"
    assert knowledge.is_true("P36", "Peru", "ciudad de los reyes")
    assert knowledge.report.left_out == {"subject is empty": 1}


def test_whole_numbers_as_objects(tmp_path: Path, relations: Relations) -> None:
    rows = [{"subject": "helium", "relation": "P1086", "object": 2}]
    for form, write in WRITERS.items():
        assert load(tmp_path, f"facts{form}", write(rows)).is_true("P1086", "helium", "2")


@every_form
def test_places_that_hold_no_file(tmp_path: Path, relations: Relations, form: str) -> None:
    path = tmp_path / f"facts{form}"
    with pytest.raises(UsageError, match=rf"facts{form}: cannot read the file: No such file or directory"):
        load_knowledge([path], relations.source)
    path.mkdir()
    with pytest.raises(UsageError, match=rf"facts{form}: this is a directory\n  fix: name the files in it"):
        load_knowledge([path], relations.source)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(UsageError, match=rf"facts{form}: this is a device or a pipe"):
        load_knowledge([path], relations.source)
    with pytest.raises(UsageError, match="cannot read the file"):
        load_knowledge([tmp_path / f"a\0b{form}"], relations.source)


@every_form
def test_a_file_without_permission(
    tmp_path: Path, relations: Relations, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"facts{form}"
    path.write_bytes(WRITERS[form]([FRANCE]))

    def refuse(name: str, flags: int) -> int:  # as root, every file may be read
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr("pytest_editpitfalls.knowledge.readers._text.without_waiting", refuse)
    with pytest.raises(UsageError, match=rf"facts{form}: cannot read the file: Permission denied"):
        load_knowledge([path], relations.source)


def test_the_same_file_twice_is_read_once_and_noted(tmp_path: Path, relations: Relations) -> None:
    path, link = tmp_path / "facts.csv", tmp_path / "link.csv"
    path.write_bytes(write_csv([FRANCE]))
    link.symlink_to(path)
    report = load_knowledge([path, link], relations.source).report
    assert report.lines() == [f"{link} is the same file as {path}, and read once"]


def test_a_file_with_a_million_unknown_relations_keeps_no_million_reasons(tmp_path: Path, relations: Relations) -> None:
    rows = [PERU, *({"subject": "France", "relation": f"P9{number}", "object": "Paris"} for number in range(1200))]
    report = load(tmp_path, "facts.csv", write_csv(rows)).report
    assert report.left_out.total() == 1200
    assert len(report.left_out) == MAX_REASONS + 1
    lines = report.lines()
    assert len(lines) == SHOWN_REASONS + 1
    assert lines[0].startswith("700 records left out: other reasons")
    assert "476 records left out for 476 further reasons" in lines[-1]


TEXT = st.text(st.characters(exclude_categories=("Cs", "Co")), min_size=0, max_size=12)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"subject": TEXT, "relation": st.sampled_from(["P36", "P37", "capital"]), "object": TEXT},
        optional={
            "subject_aliases": st.lists(TEXT.filter(lambda text: "|" not in text), max_size=3),
            "object_aliases": st.lists(TEXT.filter(lambda text: "|" not in text), max_size=3),
            "subject_kind": TEXT,
            "popularity": st.floats(0, 1e12),
            "source": TEXT,
            "subject_article": st.sampled_from(["", "the", "a", "an"]),
            "date": st.sampled_from(["", "2024", "2024-05-01"]),
        },
    ),
    min_size=1,
    max_size=6,
)


@every_form
@given(rows=ROWS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(tmp_path: Path, form: str, rows: list[dict[str, Any]]) -> None:
    """Every record becomes the fact that it is, or is counted with the reason; in every form the same."""
    expected = [fact_or_reason(row) for row in rows]
    facts = [fact for fact in expected if isinstance(fact, KnownFact)]
    reasons = [reason for reason in expected if isinstance(reason, str)]
    path = tmp_path / f"facts{form}"
    path.write_bytes(WRITERS[form](rows))
    report = ReadingReport()
    read = list(read_facts(path, Reading(make_relations(tmp_path), report)))
    assert [without_place(fact) for fact in read] == [without_place(fact) for fact in facts]
    assert sorted(report.left_out.elements()) == sorted(reasons)


def fact_or_reason(row: dict[str, Any]) -> KnownFact | str:
    try:
        return fact_from(row, "")
    except BadFact as error:
        return str(error)


def without_place(fact: KnownFact) -> dict[str, Any]:
    return {name: getattr(fact, name) for name in FIELDS}


def test_aliases_that_are_ids_are_no_names() -> None:
    for name in ALIASES:
        assert getattr(fact_from(FRANCE | {name: ["Q90", "Lutetia", ""]}, ""), name) == ("Lutetia",)
