"""The benchmark's published files: sizes, rules, ids, prompts; and copies of the format with mistakes."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import Case, compile_case
from pytest_editpitfalls.pitfalls.round import RoundRow
from pytest_editpitfalls.suites import load_suite, load_suites
from pytest_editpitfalls.suites.discovery import expand_suites
from pytest_editpitfalls.suites.readers.released_files import case_id

XL_ROUND = {
    "easy.json": (906, 437, 298, 244, 239, 173, 78, 55, 51, 19),
    "hard.json": (544, 523, 328, 207, 562, 146, 33, 75, 59, 23),
}
J_ROUND = {
    "easy.json": (733, 181, 641, 223, 301, 170, 109, 62, 67, 13),
    "hard.json": (605, 294, 288, 284, 547, 185, 52, 120, 101, 24),
}
ROUND_RELATIONS = ("P136", "P69", "P166", "P279", "P366", "P276", "P800", "P674", "P1411", "P403")
ROUND_SIZES = dict(zip(range(2, 11), (1456, 509, 220, 137, 69, 45, 30, 22, 12), strict=True))
CONFLICT = {
    "GPT2-XL/reverse_edit.json": {"P22>P40": 762, "P185>P184": 725, "P25>P40": 704, "P800>P170": 309},
    "GPT2-XL/coverage_edit.json": {
        "P40": 708, "P22": 392, "P185": 379, "P184": 367, "P25": 359, "P170": 150, "P800": 145,
    },
    "GPT2-XL/composite_edit.json": {
        "P22&P40>P3373": 699, "P22&P26>P25": 549, "P800&P407>P1412": 289, "P40&P25>P26": 187,
        "P25&P26>P22": 183, "P40&P22>P26": 68, "P39&P1001>P27": 25,
    },
    "GPT-J/composite_edit.json": {
        "P22&P40>P3373": 259, "P22&P26>P25": 164, "P800&P407>P1412": 104, "P40&P25>P26": 803,
        "P25&P26>P22": 626, "P40&P22>P26": 216, "P39&P1001>P27": 328,
    },
}  # fmt: skip


def row_of(case: Case) -> RoundRow:
    assert isinstance(case.row, RoundRow)
    return case.row


@pytest.mark.parametrize("file", CONFLICT)
def test_conflict_files_have_the_known_rules(published: Path, file: str) -> None:
    start = time.perf_counter()
    suite = load_suite(published / file)
    assert time.perf_counter() - start < 3, "reading took seconds; well under one is usual"
    assert Counter(case.group for case in suite.cases) == CONFLICT[file]
    assert suite.name == suite.kind == file.split("/")[1].removesuffix("_edit.json")
    assert suite.format == "published"


@pytest.mark.parametrize(("model", "known"), [("GPT2-XL", XL_ROUND), ("GPT-J", J_ROUND)])
@pytest.mark.parametrize("file", ["easy.json", "hard.json"])
def test_round_files_have_the_known_relations(published: Path, model: str, known: Any, file: str) -> None:
    suite = load_suite(published / model / file)
    assert suite.kind == "round"
    assert suite.name == file.removesuffix(".json")
    relations = Counter(case.edits[0].relation for case in suite.cases)
    assert tuple(relations[name] for name in ROUND_RELATIONS) == known[file]
    assert Counter(len(row_of(case).true_objects) for case in suite.cases) == ROUND_SIZES


def test_every_case_compiles_and_ids_are_unique(published: Path) -> None:
    for path in sorted(published.glob("*/*.json")):
        if "prompts" in path.name:
            continue
        suite = load_suite(path)
        assert len({case.id for case in suite.cases}) == len(suite.cases)
        for case in suite.cases:
            program = compile_case(case)
            assert {probe.state for probe in program.probes} == {state.name for state in program.states}
            assert all(len(probe.prompts) == 11 for probe in program.probes)
            assert program.held


def test_ids_name_rule_and_row(published: Path) -> None:
    suite = load_suite(published / "GPT2-XL" / "reverse_edit.json")
    assert suite.cases[17].id == "P800-P170-00017"
    assert suite.cases[0].id == "P800-P170-00000"
    assert case_id("P22&P40>P3373", 3) == "P22-P40-P3373-00003"
    assert case_id("1-3@P366", 2499) == "1-3-P366-02499"
    assert case_id("P40", 12) == "P40-00012"


def test_prompts_are_kept_byte_for_byte(published: Path) -> None:
    """Fourteen paraphrases end in a space and one relation lists a prompt twice; both stay."""
    prompts = json.loads((published / "GPT2-XL" / "conflict_prompts.json").read_text("utf-8"))
    trailing = set()
    for file in ("composite_edit.json", "reverse_edit.json", "coverage_edit.json"):
        for case in load_suite(published / "GPT2-XL" / file).cases:
            for relation in case.relations:
                assert list(relation.paraphrases) == prompts[relation.id]
                trailing |= {prompt for prompt in relation.paraphrases if prompt.endswith(" ")}
    assert len(trailing) == 14
    assert len(set(prompts["P27"])) == 9


@pytest.mark.parametrize(
    ("file", "row", "others"),
    [
        ("easy.json", 2067, ("Order of Saint Michael and Saint George", "Kuwait Liberation Medal",
                             "Medal of Military Duty", "Order of the Nile")),
        ("easy.json", 2229, ("West Java", "Indonesia", "Cirebon")),
    ],
)  # fmt: skip
def test_a_second_object_with_the_targets_label_stays(
    published: Path, file: str, row: int, others: tuple[str, ...]
) -> None:
    case = load_suite(published / "GPT2-XL" / file).cases[row]
    row = row_of(case)
    assert row.others == others
    assert case.edits[0].object in row.others
    assert len(row.true_objects) == len(others) + 1


def test_candidates_are_no_true_objects(published: Path) -> None:
    suite = load_suite(published / "GPT2-XL" / "easy.json")
    true: dict[tuple[str, str], set[str]] = {}
    for case in suite.cases:
        edit = case.edits[0]
        true.setdefault((edit.relation, edit.subject), set()).update(row_of(case).true_objects)
    for case in suite.cases:
        (held,) = case.held
        assert 1 <= len(held.candidates) <= 32
        assert len(set(held.candidates)) == len(held.candidates)
        assert not true[held.fact.relation, held.fact.subject] & set(held.candidates)


def test_two_files_of_one_name_are_told_apart(published: Path) -> None:
    suites = load_suites([str(published / "GPT2-XL" / "easy.json"), str(published / "GPT-J" / "easy.json")])
    assert [suite.name for suite in suites] == ["easy", "GPT-J-easy"]
    assert {case.suite for case in suites[1].cases} == {"GPT-J-easy"}
    assert len(expand_suites([str(published / "GPT-J" / "easy.json")] * 2)) == 1


RELATION = {"id": "P36", "prompt": "The capital of {} is", "query": "", "label": "capital"}


def entity(number: int, label: str) -> dict[str, str]:
    return {"id": f"Q{number}", "label": label}


def conflict_rows() -> list[dict[str, Any]]:
    france, paris, rome, oslo = entity(1, "France"), entity(2, "Paris"), entity(3, "Rome"), entity(4, "Oslo")
    first = {"relation": RELATION, "subject": france, "object": paris, "new_object": rome}
    second = {"relation": RELATION, "subject": france, "object": rome, "new_object": oslo}
    triple = {"relation": RELATION, "subject": france, "object": paris}
    return [{"triples": [triple], "prerequisites": [], "type": "coverage", "edits": [first, second]} for _ in range(2)]


def round_rows() -> list[dict[str, Any]]:
    row = {
        "type": "1-2@P36",
        "edit": {
            "relation": RELATION,
            "subject": entity(1, "France"),
            "object": entity(2, "Paris"),
            "new_object": entity(3, "Rome"),
        },
        "true_objects": [entity(2, "Paris"), entity(5, "Lutetia")],
    }
    return [json.loads(json.dumps(row)) for _ in range(2)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(rows: object, prompts: object = None) -> Path:
        for name in ("conflict_prompts.json", "round_prompts.json"):
            (tmp_path / name).write_text(json.dumps(prompts or {"P36": ["{} has"] * 10}), "utf-8")
        path = tmp_path / "mine.json"
        path.write_text(rows if isinstance(rows, str) else json.dumps(rows), "utf-8")
        return path

    return write


def test_a_file_is_recognised_by_its_content(write: Callable[..., Path]) -> None:
    suite = load_suite(write(conflict_rows()))
    assert (suite.name, suite.kind, [case.id for case in suite.cases]) == (
        "mine",
        "coverage",
        ["P36-00000", "P36-00001"],
    )
    assert load_suite(write(round_rows())).kind == "round"


def change(rows: list[dict[str, Any]], path: tuple[Any, ...], value: object) -> list[dict[str, Any]]:
    rows = json.loads(json.dumps(rows))
    place: Any = rows
    for part in path[:-1]:
        place = place[part]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "path", "value", "what", "where"),
    [
        (
            conflict_rows(),
            (1, "edits", 0, "subject", "label"),
            7,
            "a text",
            "row 1, field edits.0.subject.label",
        ),
        (
            conflict_rows(),
            (1, "edits", 0, "new_object"),
            None,
            "is missing",
            "row 1, field edits.0.new_object",
        ),
        (conflict_rows(), (1, "edits", 1), None, "item 2 of 'edits'", "row 1, field edits.1"),
        (
            conflict_rows(),
            (1, "edits", 1, "subject", "id"),
            "Q9",
            "not that of edits.0",
            "row 1, field edits.1",
        ),
        (conflict_rows(), (1, "type"), "reverse", "'reverse' in a file of coverage", "row 1, field type"),
        (conflict_rows(), (1, "type"), "revers", "'reverse', 'composite' or 'coverage'", "row 1, field type"),
        (
            conflict_rows(),
            (1, "edits", 1, "relation", "prompt"),
            "no slot",
            "needs a {}",
            "edits.1.relation.prompt",
        ),
        (conflict_rows(), (1, "edits", 1, "relation", "prompt"), "{}:", "has two prompts", "row 1"),
        (conflict_rows(), (1, "edits", 0, "relation", "id"), "P9", "not that of edits.0", "row 1"),
        (
            round_rows(),
            (1, "edit", "relation", "id"),
            "P9",
            "'P9' has no paraphrases",
            "row 1, field relation.id",
        ),
        (round_rows(), (1, "true_objects", 0, "id"), "Q8", "not among them", "row 1, field true_objects"),
        (round_rows(), (1, "true_objects", 0), None, "at least 2 items", "row 1, field true_objects"),
    ],
)
def test_a_wrong_row_is_named(
    write: Callable[..., Path], rows: Any, path: tuple[Any, ...], value: object, what: str, where: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load_suite(write(change(rows, path, value)))
    assert what in caught.value.what
    assert where in str(caught.value.where)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ("[]", "no cases"),
        ("{}", "holds no list of records"),
        ("[1]", "holds no list of records"),
        ('[{"a": 1}]', "has no form that is known\n  fix: name a CounterFact file, .*a published .json file, "),
        ("[{", "not valid JSON"),
    ],
)
def test_another_file_is_refused(write: Callable[..., Path], rows: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        load_suite(write(rows))


@pytest.mark.parametrize(
    ("prompts", "what"),
    [
        ({"P36": []}, "at least 1 item"),
        ({"P36": ["no slot"]}, "needs a {}"),
        ({"P36": "x {}"}, "a list"),
    ],
)
def test_wrong_prompts_are_named(write: Callable[..., Path], prompts: Any, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_suite(write(conflict_rows(), prompts))
    assert what in caught.value.what
    assert "conflict_prompts.json, field P36" in str(caught.value.where)


def test_absent_prompts_are_named(published: Path, tmp_path: Path) -> None:
    shutil.copy(published / "GPT2-XL" / "easy.json", tmp_path)
    with pytest.raises(UsageError, match=r"round_prompts\.json, is not beside it"):
        load_suite(tmp_path / "easy.json")
