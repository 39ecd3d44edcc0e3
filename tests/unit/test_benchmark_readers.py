"""Files of other benchmarks: recognised by content, read into the kinds that they can feed, with counts of the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import compile_case, pitfall_of
from pytest_editpitfalls.pitfalls.composite import CompositeRow
from pytest_editpitfalls.pitfalls.round import RoundRow
from pytest_editpitfalls.suites import benchmarks, load_suite, load_suites
from pytest_editpitfalls.suites.benchmarks import cases as cases_module
from pytest_editpitfalls.suites.benchmarks import json_rows
from pytest_editpitfalls.suites.benchmarks.prompts import objects_in, relation_name, template_of, texts_in
from pytest_editpitfalls.suites.benchmarks.records import Neighbour
from pytest_editpitfalls.suites.readers import edits_of

SAMPLES = Path(__file__).parents[1] / "fuzz" / "corpus"
FEEDS = {
    "counterfact": {"coverage": 8},
    "zsre": {"coverage": 5},
    "mquake": {"composite": 4, "coverage": 4},
    "ripple_edits": {"reverse": 4, "composite": 2, "coverage": 7, "round": 3},
    "knowedit": {"reverse": 4, "coverage": 4, "round": 4},
    "peak": {"coverage": 3, "round": 3},
}
NAMES = {
    "counterfact": "CounterFact",
    "zsre": "zsRE",
    "mquake": "MQuAKE",
    "ripple_edits": "RippleEdits",
    "knowedit": "KnowEdit",
    "peak": "PEAK",
    "wikibigedit": "WikiBigEdit",
}


@pytest.fixture
def sample(tmp_path: Path) -> Callable[..., Path]:
    """Write a sample under another name, changed by a function of its rows."""

    def write(name: str, change: Callable[[list[Any]], Any] = lambda rows: rows, file: str = "mine.json") -> Path:
        rows = json.loads((SAMPLES / f"{name}.json" / "seed.json").read_text(encoding="utf-8"))
        (tmp_path / file).write_text(json.dumps(change(rows) or rows), encoding="utf-8")
        return tmp_path / file

    return write


def cases_of(path: Path, kind: str) -> tuple[Case, ...]:
    return load_suite(f"{path}::{kind}").cases


@pytest.mark.parametrize("name", FEEDS)
def test_a_file_gives_a_suite_for_each_kind_that_it_feeds(sample: Callable[..., Path], name: str) -> None:
    suites = load_suites([str(sample(name))])
    assert {suite.kind: len(suite.cases) for suite in suites} == FEEDS[name]
    for suite in suites:
        assert (suite.name, suite.format, suite.is_part) == (f"mine-{suite.kind}", NAMES[name], True)
        assert suite.notes[0].startswith(f"mine.json is a {NAMES[name]} file")
        assert f"{len(suite.cases)} {suite.kind} cases of" in suite.notes[0]
        assert len({case.id for case in suite.cases}) == len(suite.cases)
        for case in suite.cases:
            # what a suite of our own would have to fulfil
            pitfall_of(suite.kind).row.model_validate_json(case.row.model_dump_json())
            assert compile_case(case).probes
            assert case.held


@pytest.mark.parametrize("name", NAMES)
def test_the_plain_edits_of_a_file(sample: Callable[..., Path], name: str) -> None:
    records = edits_of(sample(name))
    assert records is not None
    assert records.form == NAMES[name]
    for edit in records.edits:
        assert edit.prompt.count("{}") == 1
        assert edit.subject not in edit.prompt
        assert edit.target_new
        assert all("{}" in prompt for prompt in edit.paraphrases)


def test_what_the_first_edits_say(sample: Callable[..., Path]) -> None:
    records = edits_of(sample("counterfact"))
    assert records is not None
    edit = records.edits[0]
    assert (edit.subject, edit.relation, edit.target_true, edit.target_new) == ("France", "P36", "Paris", "Oslo")
    assert edit.paraphrases == ("It rained all day. The capital city of {} is", "{} has its capital in")
    assert edit.neighbours == (Neighbour("The tower of Paris stands in", "Paris"),)
    assert (edit.row, edit.place) == (0, "mine.json, row 0")
    records = edits_of(sample("wikibigedit"))
    assert records is not None
    edit = records.edits[0]
    assert (edit.prompt, edit.target_new, edit.target_true) == ("Who is the mayor of {}?", "Dora Field", "")
    assert edit.relation == "who-is-the-mayor-of"
    records = edits_of(sample("ripple_edits"))
    assert records is not None
    assert [edit.subject for edit in records.edits][4:] == ["Ada Byron", "Ben Miller", "Cleo Stone", "Dora Field"]
    assert edits_of(Path(__file__).with_name("absent.json")) is None


def test_coverage_writes_a_third_object_of_the_relation(sample: Callable[..., Path]) -> None:
    for case in cases_of(sample("counterfact"), "coverage"):
        first, second = case.edits
        assert second.object == first.new_object
        assert len({first.object, first.new_object, second.new_object}) == 3
        pool = {"P36": {"Paris", "Tokyo", "Lima", "Oslo", "Vienna"}, "P37": {"Portuguese", "Greek", "Danish"}}
        assert second.new_object in pool[case.group]


def test_the_third_object_is_not_true_and_no_part_of_another(sample: Callable[..., Path]) -> None:
    def change(rows: list[Any]) -> list[Any]:
        rows = [row for row in rows if row["requested_rewrite"]["relation_id"] == "P37"]
        rows[1]["requested_rewrite"]["target_true"]["str"] = "Ancient Greek"  # all that is left holds Greek
        rows[1]["requested_rewrite"]["target_new"]["str"] = "Portuguese"
        return rows[:2]

    with pytest.raises(UsageError, match="2 left out: no further object of the relation in the file"):
        load_suites([str(sample("counterfact", change))])


def test_a_chain_of_two_hops_is_a_composite_case(sample: Callable[..., Path]) -> None:
    case = cases_of(sample("mquake"), "composite")[0]
    assert isinstance(case.row, CompositeRow)
    first, second = case.edits
    assert (first.relation, first.subject, first.object, first.new_object) == (
        "P27", "William Shakespeare", "England", "Japan",
    )  # fmt: skip
    assert (case.row.tied.relation, case.row.tied.subject, case.row.tied.object) == ("P50", "Hamlet", first.subject)
    assert (second.relation, second.subject, second.object) == ("P50.P27", "Hamlet", "England")
    assert second.new_object not in ("England", "Japan")
    assert case.questions(second.after) == (
        "Of which country is the author of Hamlet a citizen?",
        "Which country does the author of Hamlet come from?",
        "What is the home country of the person who wrote Hamlet?",
    )
    assert case.questions(case.row.tied) == ("The author of Hamlet is", "Who is the author of Hamlet?")
    assert [held.name for held in case.held] == ["edit1", "tied"]


def test_the_flat_form_of_mquake_remastered(sample: Callable[..., Path]) -> None:
    def change(rows: list[Any]) -> None:
        for row in rows:
            row["split"] = {"100": ["edited"]}
            for rewrite in row["requested_rewrite"]:
                for field in ("target_new", "target_true"):
                    rewrite[f"{field}_str"] = rewrite.pop(field)["str"]

    flat = load_suites([str(sample("mquake", change))])
    plain = load_suites([str(sample("mquake"))])
    assert [[case.row for case in suite.cases] for suite in flat] == [
        [case.row for case in each.cases] for each in plain
    ]


def test_why_a_record_is_no_composite_case(sample: Callable[..., Path]) -> None:
    def change(rows: list[Any]) -> None:
        rows[0]["single_hops"].append(rows[0]["single_hops"][0])
        rows[1]["requested_rewrite"] *= 2
        rows[2]["orig"] = {}

    notes = load_suite(f"{sample('mquake', change)}::coverage").notes
    assert set(notes[1:]) == {
        "1 record: no composite case: the question has not two hops (first: row 0)",
        "1 record: no composite case: not one edit (first: row 1)",
        "1 record: no composite case: what the question is about is not named in orig.triples_labeled, or does not "
        "stand in the question (first: row 2)",
        "1 record: no composite case: the edit is not on the second hop (first: row 4)",
    }


def test_what_follows_from_an_edit_the_other_way_round_is_a_reverse_case(sample: Callable[..., Path]) -> None:
    for name, back in (("ripple_edits", "CAPITAL"), ("knowedit", "the-name-of-the-capital-city-of-is")):
        case = cases_of(sample(name), "reverse")[0]
        first, second = case.edits
        assert (first.subject, first.object, first.new_object) == ("Paris", "France", "Norway")
        assert (second.relation, second.subject, second.object) == (back, "Norway", "Paris")
        assert second.new_object in ("Tokyo", "Lima")  # Oslo is Norway's capital before any edit
        assert case.questions(second.after)[0] == "The name of the capital city of Norway is"


def test_a_question_through_the_edit_is_a_composite_case_of_ripple_edits(sample: Callable[..., Path]) -> None:
    case = cases_of(sample("ripple_edits"), "composite")[0]
    assert isinstance(case.row, CompositeRow)
    assert (case.row.tied.subject, case.row.tied.object) == ("Louvre", "Paris")
    assert case.questions(case.row.tied) == ("The name of the city of Louvre is",)
    assert case.questions(case.edits[1].after) == (
        "The name of the country which the city of Louvre is the capital of is",
    )


def test_several_objects_are_a_round_case(sample: Callable[..., Path]) -> None:
    rows = [cases_of(sample(name), "round")[0].row for name in ("peak", "ripple_edits", "knowedit")]
    assert all(isinstance(row, RoundRow) for row in rows)
    assert [row.true_objects for row in rows if isinstance(row, RoundRow)] == [
        ("Greece", "Syria", "Iran"),
        ("poet", "engineer"),
        ("Paris Brook", "Paris Water"),
    ]
    assert [(row.edits[0].object, row.edits[0].new_object) for row in rows[:2]] == [
        ("Greece", "Peru"), ("poet", "farmer"),
    ]  # fmt: skip


def test_a_file_that_feeds_no_kind_says_why(sample: Callable[..., Path]) -> None:
    with pytest.raises(UsageError) as caught:
        load_suites([str(sample("wikibigedit"))])
    text = str(caught.value)
    assert "this is a WikiBigEdit file with 2 records, and none of them can be a case" in text
    assert "2 left out: what is true before the edit is not said" in text
    assert "--pitfalls-edits" in text


def test_one_kind_of_a_file_is_named(sample: Callable[..., Path]) -> None:
    path = sample("mquake")
    assert [suite.name for suite in load_suites([f"{path}::coverage"])] == ["mine-coverage"]
    assert len(load_suites([str(path), f"{path}::coverage"])) == 2, "each once"
    assert load_suite(f"{path}::coverage").spec == f"{path}::coverage"
    with pytest.raises(UsageError, match=r"feeds several kinds of cases: composite, coverage\n  fix: name one"):
        load_suite(path)
    with pytest.raises(UsageError, match="has no round cases, only composite and coverage cases"):
        load_suite(f"{path}::round")
    with pytest.raises(UsageError, match=r"unknown kind of cases 'covrage'\n  fix: did you mean 'coverage'\?"):
        load_suite(f"{path}::covrage")
    with pytest.raises(UsageError, match="names no kind after '::'"):
        load_suite(f"{path}::")


@pytest.mark.parametrize(
    ("name", "change", "where", "what"),
    [
        (
            "counterfact",
            lambda r: r[1]["requested_rewrite"].pop("subject"),
            "row 1 .*requested_rewrite.subject",
            "missing",
        ),
        ("counterfact", lambda r: r[2].update(paraphrase_prompts="x"), "row 2 .*paraphrase_prompts", "a list"),
        ("counterfact", lambda r: r.append(7), "row 8", "has to be an object"),
        ("zsre", lambda r: r[0].update(alt=5), r"row 0 \(this is a zsRE file.*field alt", "a text"),
        ("mquake", lambda r: r[3].pop("single_hops"), "row 3 .*single_hops", "missing"),
        (
            "ripple_edits",
            lambda r: r[0]["edit"].update(original_fact=[]),
            "row 0 .*original_fact",
            "has to be an object",
        ),
        ("peak", lambda r: r[0].update(postive_list=[["a"]]), "row 0 .*postive_list.0", "a text"),
        ("wikibigedit", lambda r: r[1].update(ans=None), "row 1 .*field ans", "a text"),
    ],
)
def test_a_wrong_field_is_named_with_its_row(
    sample: Callable[..., Path], name: str, change: Callable[[list[Any]], Any], where: str, what: str
) -> None:
    def wrong(rows: list[Any]) -> list[Any]:
        change(rows)
        return rows

    with pytest.raises(UsageError, match=what) as caught:
        load_suites([str(sample(name, wrong))])
    assert caught.value.where is not None
    assert re.search(where, caught.value.where), caught.value.where
    assert NAMES[name] in caught.value.where


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_ends_early_is_refused(sample: Callable[..., Path], name: str) -> None:
    path = sample(name)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UsageError, match="not valid JSON"):
        load_suites([str(path)])


def test_files_that_are_no_text_or_too_large(sample: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = sample("counterfact")
    path.write_bytes(path.read_bytes().replace(b"Paris", "Paräs".encode("latin-1")))
    with pytest.raises(UsageError, match="not UTF-8"):
        load_suites([str(path)])
    path.write_bytes(b"")
    with pytest.raises(UsageError, match="not valid JSON"):
        load_suites([str(path)])
    monkeypatch.setattr(json_rows, "MAX_BENCHMARK_BYTES", 1000)
    with pytest.raises(UsageError, match=r"too large \(more than"):
        load_suites([str(sample("counterfact"))])


def test_a_long_first_record_is_recognised(sample: Callable[..., Path]) -> None:
    def long(rows: list[Any]) -> list[Any]:
        rows[0] = {"generation_prompts": ["x" * 100] * 400, **rows[0]}
        return rows

    assert edits_of(sample("counterfact", long)) is not None


def test_repeated_edits_and_crowds_are_counted(sample: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    suites = load_suites([str(sample("counterfact", lambda rows: rows + rows[:2]))])
    assert "2 left out: an edit that stands in the file already" in suites[0].notes[0]
    monkeypatch.setattr(cases_module, "MAX_CASES", 3)
    suites = load_suites([str(sample("counterfact"))])
    assert len(suites[0].cases) == 3
    assert "5 left out: more than 3 cases" in suites[0].notes[0]


def test_another_order_or_name_changes_no_case(sample: Callable[..., Path]) -> None:
    plain = cases_of(sample("counterfact"), "coverage")
    turned = cases_of(sample("counterfact", lambda rows: rows[::-1]), "coverage")
    assert {case.edits for case in plain} == {case.edits for case in turned}


def test_templates() -> None:
    assert template_of("It rains. Tokyo, the capital of", "Tokyo") == ("It rains. {}, the capital of", "Tokyo")
    assert template_of("Tokyo and Tokyo", "Tokyo") == ("Tokyo and {}", "Tokyo")
    assert template_of("a passage about john reynolds.", "John Reynolds") == ("a passage about {}.", "john reynolds")
    assert template_of("东京的首都是", "东京") == ("{}的首都是", "东京")
    assert template_of("Tokyoites live in", "Tokyo") is None
    assert template_of("{} and Tokyo", "Tokyo") is None
    assert template_of("x", "") is None
    assert relation_name("What is the capital of {}?") == "what-is-the-capital-of"
    long = [relation_name("The " + "very " * 20 + f"{end} {{}} is") for end in ("one", "two")]
    assert long[0] != long[1]
    assert all(len(name) <= 48 for name in long)
    assert texts_in([["a", "b"], "c", {"str": "d"}, 5, None, True, ""]) == ["a", "b", "c", "d", "5"]
    assert objects_in([["a", "alias"], ["b"]]) == ("a", "b")
    assert objects_in(["a", "b", "a"]) == ("a", "b")


def test_every_module_of_the_folder_has_a_seed() -> None:
    folder = Path(benchmarks.__file__).parents[1] / "readers"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "own_format", "released_files"}
    assert modules == set(NAMES)
