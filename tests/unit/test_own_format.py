"""The project's own suite format: what it loads and how it refuses what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_editpitfalls import files
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import PITFALLS, Edit, Fact
from pytest_editpitfalls.pitfalls.composite import CompositeRow
from pytest_editpitfalls.pitfalls.round import RoundRow
from pytest_editpitfalls.suites import load_suite
from pytest_editpitfalls.suites.readers import own_format
from pytest_editpitfalls.suites.suite import select_case

Make = Callable[[str], Any]


@pytest.mark.parametrize("kind", [kind.name for kind in PITFALLS])
def test_loads_every_kind(small_suite: Make, kind: str) -> None:
    suite = load_suite(small_suite(kind).write())
    assert (suite.name, suite.kind, suite.format, suite.license) == ("small", kind, "own", "CC0-1.0")
    assert [case.source_index for case in suite.cases] == [0, 1]
    assert suite.thresholds == ()
    assert all(case.suite == "small" and case.kind == kind for case in suite.cases)


def test_composite_case_in_full(small_suite: Make) -> None:
    case = load_suite(small_suite("composite").write()).cases[0]
    assert case.id == "P17-0000"
    assert case.edits == (Edit("P36", "France", "Paris", "Rome"), Edit("P279", "Lyon", "Paris", "Oslo"))
    assert isinstance(case.row, CompositeRow)
    assert case.row.tied == Fact("P17", "Lyon", "France")
    assert [relation.id for relation in case.relations] == ["P36", "P279", "P17"]
    assert case.questions(Fact("P36", "France", "x"))[:2] == ("The capital of France is", "a, France has")
    assert case.sentence(case.edits[0].after) == "The capital of France is Rome"
    assert [(held.fact.object, held.candidates) for held in case.held] == [
        ("Paris", ("Tokyo",)),
        ("France", ("Japan",)),
    ]


def test_round_case_in_full(small_suite: Make) -> None:
    case = load_suite(small_suite("round").write()).cases[0]
    assert isinstance(case.row, RoundRow)
    assert case.row.true_objects == ("plant", "tree", "living thing")
    assert case.row.others == ("plant", "living thing")
    assert [held.candidates for held in case.held] == [("fish", "animal")]


def test_thresholds_of_the_header_or_of_the_kind(small_suite: Make) -> None:
    small = small_suite("reverse")
    small.header["thresholds"] = ["cs_exp >= 1"]
    assert load_suite(small.write()).thresholds == ("cs_exp >= 1",)
    del small.header["thresholds"]
    assert load_suite(small.write()).thresholds == PITFALLS.get("reverse").thresholds


def test_digest_follows_every_file(small_suite: Make) -> None:
    small = small_suite("reverse")
    digests = {load_suite(small.write()).digest}
    small.header["provenance"] = "elsewhere"
    digests.add(load_suite(small.write()).digest)
    small.relations["P36"]["paraphrases"].append("One more about {} is")
    digests.add(load_suite(small.write()).digest)
    small.lines[0]["id"] = "P36-0009"
    digests.add(load_suite(small.write()).digest)
    assert len(digests) == 4


def spoil_id(small: Any) -> None:
    small.lines[1]["id"] = small.lines[0]["id"]


def spoil_key(small: Any) -> None:
    small.lines[1]["edits"][0]["new_objekt"] = small.lines[1]["edits"][0].pop("new_object")


def spoil_missing(small: Any) -> None:
    del small.lines[1]["edits"][1]["subject"]


def spoil_edit_count(small: Any) -> None:
    del small.lines[1]["edits"][1]


def spoil_relation(small: Any) -> None:
    small.lines[1]["edits"][0]["relation"] = "P37"


def spoil_blank(small: Any) -> None:
    small.lines[1]["edits"][0]["new_object"] = "  "


def spoil_spaces(small: Any) -> None:
    small.lines[1]["edits"][0]["new_object"] = " Oslo"


def spoil_number(small: Any) -> None:
    small.lines[1]["edits"][0]["new_object"] = 7


def spoil_new_object(small: Any) -> None:
    small.lines[1]["edits"][0]["new_object"] = "Tokyo"
    small.lines[1]["edits"][1]["subject"] = "Tokyo"


def spoil_chain(small: Any) -> None:
    small.lines[1]["edits"][1]["subject"] = "Bergen"


def spoil_no_conflict(small: Any) -> None:
    small.lines[1]["edits"][1]["new_object"] = "Japan"


def spoil_tied(small: Any) -> None:
    small.lines[1]["tied"] = {"relation": "P17", "subject": "Kobe", "object": "Japan"}


def spoil_long(small: Any) -> None:
    small.lines[1]["edits"][0]["subject"] = "x" * 501


@pytest.mark.parametrize(
    ("spoil", "where", "what", "fix"),
    [
        (spoil_id, "field id", "'P36-0000' is used twice (first in line 1)", "its own id"),
        (spoil_key, "field edits.0.new_objekt", "unknown field", "did you mean 'new_object'?"),
        (spoil_missing, "field edits.1.subject", "'subject' is missing", "add it"),
        (spoil_edit_count, "field edits.1", "item 2 of 'edits' is missing", "add it"),
        (
            spoil_relation,
            "case P36-0001, field edits.0.relation",
            "relation 'P37' has no prompts",
            "did you mean 'P",
        ),
        (spoil_blank, "field edits.0.new_object", "the text is empty", "correct"),
        (spoil_spaces, "field edits.0.new_object", "starts or ends with a space", "correct"),
        (spoil_number, "field edits.0.new_object", "a text (found 7)", "correct"),
        (spoil_new_object, "field edits.0.new_object", "'Tokyo' is a true object of Japan", "not true"),
        (spoil_chain, "field edits.1.subject", "'Bergen' does not continue the chain", "write 'Oslo'"),
        (spoil_no_conflict, "field edits.1.new_object", "'Japan' makes no conflict", "another object"),
        (spoil_tied, "field tied", "unknown field 'tied'", "known: edits, id, rule"),
        (spoil_long, "field edits.0.subject", "at most 500 characters", "correct"),
    ],
)
def test_a_wrong_line_is_named(
    small_suite: Make, spoil: Callable[[Any], None], where: str, what: str, fix: str
) -> None:
    small = small_suite("reverse")
    spoil(small)
    with pytest.raises(UsageError) as caught:
        load_suite(small.write())
    assert caught.value.where is not None
    assert "small.jsonl:2" in caught.value.where
    assert where in caught.value.where
    assert what in caught.value.what
    assert caught.value.fix is not None
    assert fix in caught.value.fix


def test_a_misspelt_field_gets_did_you_mean(small_suite: Make) -> None:
    small = small_suite("reverse")
    small.lines[1]["edits"][0]["new_objekt"] = "x"
    with pytest.raises(UsageError, match=r"did you mean 'new_object'\?") as caught:
        load_suite(small.write())
    assert caught.value.what == "unknown field 'new_objekt'"


@pytest.mark.parametrize(
    ("kind", "path", "value", "what"),
    [
        ("composite", ("tied", "object"), "Korea", "'Korea' does not continue the chain"),
        ("composite", ("edits", 1, "subject"), "Nara", "'Nara' does not continue the chain"),
        ("composite", ("edits", 1, "new_object"), "Rome", "makes no conflict"),
        ("coverage", ("edits", 1, "subject"), "Korea", "does not continue the chain"),
        ("coverage", ("edits", 1, "relation"), "P17", "does not continue the chain"),
        ("coverage", ("edits", 1, "new_object"), "Tokyo", "is a true object of Japan"),
        ("coverage", ("edits", 1, "new_object"), "Rome", "makes no conflict"),
        ("round", ("edits", 0, "object"), "bird", "not among the true objects"),
        ("round", ("edits", 0, "new_object"), "animal", "is a true object of trout"),
        ("round", ("true_objects",), ["fish", "animal", "fish"], "listed twice"),
        ("round", ("true_objects",), ["fish"], "at least 2 items"),
    ],
)
def test_edits_that_do_not_fit_their_kind(
    small_suite: Make, kind: str, path: tuple[Any, ...], value: object, what: str
) -> None:
    small = small_suite(kind)
    place = small.lines[1]
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(UsageError) as caught:
        load_suite(small.write())
    assert what in caught.value.what
    assert "small.jsonl:2" in str(caught.value)


def test_a_true_object_of_another_line_is_refused(small_suite: Make) -> None:
    """The base facts of the whole file say what is true, not one line alone."""
    small = small_suite("coverage")
    small.lines.append({**small.lines[0], "id": "P36-0002"})
    small.lines[2]["edits"] = [
        {"relation": "P36", "subject": "France", "object": "Vichy", "new_object": "Paris"},
        {"relation": "P36", "subject": "France", "object": "Paris", "new_object": "Oslo"},
    ]
    with pytest.raises(UsageError, match="'Paris' is a true object of France"):
        load_suite(small.write())


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("prompt", "The capital is", "exactly one {}"),
        ("prompt", "The {} of {} is", "exactly one {}"),
        ("prompt", "The capital of {subject} is", "exactly one {}"),
        ("prompt", "The capital of {} is ", "ends with a space"),
        ("paraphrases", ["{} has"], "at least 10 items"),
        ("paraphrases", ["{} has"] * 9 + ["has"], "exactly one {}"),
        ("label", 3, "a text"),
    ],
)
def test_a_wrong_relation_is_named(small_suite: Make, field: str, value: object, what: str) -> None:
    small = small_suite("reverse")
    small.relations["P36"][field] = value
    with pytest.raises(UsageError) as caught:
        load_suite(small.write())
    assert what in caught.value.what
    assert "relations.toml, relation P36, field" in str(caught.value.where)
    assert field in str(caught.value.where)


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("format", 2, "has to be 1"),
        ("kind", "inverted", "unknown kind of pitfall 'inverted'"),
        ("name", "a b", "a name of at most 64 letters"),
        ("titel", "x", "unknown field 'titel'"),
        ("relations", "../relations.toml", "outside the suite's directory"),
        ("cases", "/etc/hostname", "outside the suite's directory"),
        ("cases", "a\u0000b", "cannot read the file"),
        ("cases", "absent.jsonl", "cannot read the file"),
    ],
)
def test_a_wrong_header_is_named(small_suite: Make, field: str, value: object, what: str) -> None:
    small = small_suite("reverse")
    small.header[field] = value
    with pytest.raises(UsageError, match=r".") as caught:
        load_suite(small.write())
    assert what in caught.value.what


def test_a_link_out_of_the_directory_is_refused(small_suite: Make, tmp_path: Path) -> None:
    small = small_suite("reverse")
    header = small.write()
    outside = tmp_path.parent / f"{tmp_path.name}-outside.jsonl"
    outside.write_bytes((tmp_path / "small.jsonl").read_bytes())
    (tmp_path / "small.jsonl").unlink()
    (tmp_path / "small.jsonl").symlink_to(outside)
    with pytest.raises(UsageError, match="outside the suite's directory"):
        load_suite(header)


@pytest.mark.parametrize(
    ("file", "content", "what", "where"),
    [
        ("small.jsonl", b"\n\n", "the suite has no cases", "small.jsonl"),
        ("small.jsonl", b'\n{"id": "x", "rule"', "not valid JSON", "small.jsonl:2"),
        ("small.jsonl", b'{"id": "\xff"}\n', "not UTF-8", "small.jsonl:1"),
        ("small.jsonl", b'{"id": "\\ud800"}\n', "not valid JSON", "small.jsonl:1"),
        ("small.jsonl", b"[" * 100_000, "not valid JSON", "small.jsonl:1"),
        ("small.toml", b"a = " + b"[" * 100_000, "not valid TOML", "small.toml"),
        ("small.jsonl", b"[1]\n", "has to be an object", "small.jsonl:1"),
        ("small.toml", b"format = \n", "not valid TOML", "small.toml"),
        ("relations.toml", b"[P36]\nlabel = 'x\n", "not valid TOML", "relations.toml"),
        ("relations.toml", b"P36 = 1\n", "an object with named fields", "relation P36"),
    ],
)
def test_a_broken_file_is_named(small_suite: Make, file: str, content: bytes, what: str, where: str) -> None:
    header = small_suite("reverse").write()
    (header.parent / file).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_suite(header)
    assert what in caught.value.what
    assert where in str(caught.value.where)


def test_a_huge_file_is_refused(small_suite: Make) -> None:
    header = small_suite("reverse").write()
    os.truncate(header.with_name("small.jsonl"), files.MAX_FILE_BYTES + 1)
    with pytest.raises(UsageError, match="too large"):
        load_suite(header)


def test_too_many_cases_are_refused(small_suite: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    header = small_suite("reverse").write()
    monkeypatch.setattr(own_format, "MAX_CASES", 1)
    with pytest.raises(UsageError, match="more than 1 cases"):
        load_suite(header)


def test_a_byte_order_mark_and_blank_lines_are_accepted(small_suite: Make) -> None:
    header = small_suite("reverse").write()
    cases = header.parent / "small.jsonl"
    cases.write_bytes(b"\xef\xbb\xbf\n" + cases.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert len(load_suite(header).cases) == 2


def test_select_case(small_suite: Make) -> None:
    suite = load_suite(small_suite("reverse").write())
    assert select_case(suite, "P36-0001") is suite.cases[1]
    with pytest.raises(UsageError, match=r"did you mean 'P36-0001'\?|did you mean 'P36-0000'\?"):
        select_case(suite, "P36-001")


labels = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20).filter(
    lambda text: text == text.strip() and text
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(labels, min_size=5, max_size=5, unique=True))
def test_any_label_survives_byte_for_byte(small_suite: Make, names: list[str]) -> None:
    """Braces, quotes, other scripts: a label comes back as it was written, and goes into the prompt as it is."""
    s1, o1, o2, s2, rule = names
    small = small_suite("reverse")
    small.lines = [
        {
            "id": "a",
            "rule": rule,
            "edits": [
                {"relation": "P36", "subject": s1, "object": o1, "new_object": o2},
                {"relation": "P1376", "subject": o2, "object": s1, "new_object": s2},
            ],
        }
    ]
    case = load_suite(small.write()).cases[0]
    assert case.edits == (Edit("P36", s1, o1, o2), Edit("P1376", o2, s1, s2))
    assert case.group == rule
    assert case.questions(case.edits[0].before)[0] == "The capital of " + s1 + " is"
