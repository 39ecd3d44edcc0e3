"""`editpitfalls suites check`: every kind of mistake and oddity is found where it was put, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from unit.conftest import SHARED, SmallSuite, edit

from pytest_editpitfalls.cli.app import main
from pytest_editpitfalls.suites.checks import checks

COMMAND = import_module("pytest_editpitfalls.cli.suites.check")
SAMPLES = Path(__file__).parents[1] / "fuzz" / "corpus"


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Any]]:
    """Run the command with ``--json``; return its exit status and document."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> tuple[int, Any]:
        status = 0
        try:
            main(["suites", "check", *words, "--json"])
        except SystemExit as left:
            status = int(left.code or 0)
        out = capsys.readouterr().out
        return status, json.loads(out) if out else None

    return run


@pytest.fixture
def small(tmp_path: Path) -> Callable[[str], SmallSuite]:
    """A suite that has nothing to complain of."""

    def make(kind: str) -> SmallSuite:
        suite = SmallSuite(tmp_path, kind)
        for table in suite.relations.values():
            table["paraphrases"] = [f"Number {number}: of {{}} it holds" for number in range(10)]
        return suite

    return make


def found(document: Any, check: str) -> list[tuple[str, str, str]]:
    return [(each["level"], each["case"], each["what"]) for each in document["findings"] if each["check"] == check]


def test_lines_are_counted_with_the_empty_ones(check: Callable[..., Any], small: Callable[[str], SmallSuite]) -> None:
    suite = small("coverage")
    suite.lines[1]["edits"] = [edit("P36", "Italy", "Q220", "Rome"), edit("P36", "Italy", "Rome", "Oslo")]
    path = suite.write()
    cases = path.with_suffix(".jsonl")
    cases.write_text(cases.read_text().replace("\n", "\n\n"))
    _, document = check(str(path))
    lines = {each["where"].rpartition(":")[2] for each in document["findings"] if each["check"] == "labels"}
    assert lines == {"3"}


def test_every_check_is_found_by_being_there() -> None:
    names = [each.name for each in checks()]
    assert names == ["schema", "contradictions", "duplicates", "leaks", "lengths", "tokens", "wording", "labels"]


@pytest.mark.parametrize("kind", ["reverse", "coverage"])
def test_a_sound_suite_has_no_findings(
    check: Callable[..., Any], small: Callable[[str], SmallSuite], kind: str
) -> None:
    status, document = check(str(small(kind).write()))
    assert (status, document["findings"]) == (0, [])
    assert document["suites"][0]["cases"] == 2


def test_a_file_that_cannot_be_read_is_an_error_and_the_others_are_checked(
    check: Callable[..., Any], small: Callable[[str], SmallSuite], tmp_path: Path
) -> None:
    path = small("reverse").write()
    (tmp_path / "broken.json").write_text('[{"type": ')
    status, document = check(str(tmp_path / "broken.json"), str(path))
    assert status == 1
    assert [suite["name"] for suite in document["suites"]] == ["small"]
    (finding,) = document["findings"]
    assert (finding["check"], finding["level"]) == ("schema", "error")
    assert finding["where"].endswith("broken.json")
    assert finding["fix"]


def test_contradictions_within_and_across_suites(
    check: Callable[..., Any], small: Callable[[str], SmallSuite], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paraphrases = [f"Number {number}: the capital of {{}} is" for number in range(10)]
    (tmp_path / "facts").mkdir()
    (tmp_path / "facts" / "relations.toml").write_text(
        '[P36]\nlabel = "capital"\nsubject_kinds = ["country"]\nobject_kinds = ["city"]\nfunctional = true\n'
        f'prompt = "The capital of {{}} is"\nquery = "What is the capital of {{}}?"\nparaphrases = {paraphrases}\n'
    )
    monkeypatch.setattr("pytest_editpitfalls.suites.checks.contradictions.facts_directory", lambda: tmp_path / "facts")
    one = small("coverage")
    one.lines[1]["edits"] = [edit("P36", "France", "Lyon", "Rome"), edit("P36", "France", "Rome", "Oslo")]
    status, document = check(str(one.write()))
    assert status == 1
    assert found(document, "contradictions") == [
        (
            "error",
            "P36-0001",
            "P36 of France is 'Lyon' here and 'Paris' in small case P36-0000, but a subject has only one",
        )
    ]
    other = SmallSuite(tmp_path / "other", "reverse")
    other.directory.mkdir()
    other.header["name"] = "other"
    other.lines[0]["edits"] = [edit("P36", "Italy", "Rome", "Bonn"), edit("P1376", "Bonn", "Italy", "Chile")]
    other.lines[1]["edits"] = [edit("P36", "Japan", "Kyoto", "Lima"), edit("P1376", "Lima", "Japan", "Cuba")]
    one = small("coverage")
    one.lines[1]["edits"] = [edit("P36", "Japan", "Tokyo", "Kyoto"), edit("P36", "Japan", "Kyoto", "Oslo")]
    status, document = check(str(one.write()), str(other.write()))
    assert status == 1
    assert [what for _, _, what in found(document, "contradictions")] == [
        "P36 of Japan is 'Kyoto' here and 'Tokyo' in small case P36-0001, but a subject has only one",
        "edit 1 writes 'Kyoto' for P36 of Japan, which is true according to other case P36-0001",
    ]


def test_duplicates(check: Callable[..., Any], small: Callable[[str], SmallSuite], tmp_path: Path) -> None:
    suite = small("coverage")
    suite.lines.append({**suite.lines[0], "id": "P36-0002"})
    again = [edit("P36", "Japan", "Tokyo", "Bonn"), edit("P36", "Japan", "Bonn", "Oslo")]
    suite.lines.append({"id": "P36-0003", "rule": "P36", "edits": again})
    suite.relations["P36"]["paraphrases"][3] = suite.relations["P36"]["paraphrases"][2]
    other = SmallSuite(tmp_path / "other", "reverse")
    other.directory.mkdir()
    other.header["name"] = "other"
    status, document = check(str(suite.write()), str(other.write()))
    assert status == 0
    assert found(document, "duplicates") == [
        ("warning", "P36-0002", "says the same as small case P36-0000"),
        ("note", "P36-0001", "edit 1 is about P36 of Japan, as in P36-0003"),
        ("note", "P36-0000", "edit 1 replaces P36 of France ('Paris'), as in other"),
        ("note", "P36-0001", "edit 1 replaces P36 of Japan ('Tokyo'), as in other"),
        ("warning", "", "P36 has 1 of its 10 prompts several times: 'Number 2: of {} it holds'"),
    ]


def test_leaks_over_subjects_prompts_and_objects(check: Callable[..., Any], small: Callable[[str], SmallSuite]) -> None:
    suite = small("coverage")
    suite.relations["P36"]["paraphrases"][4] = "As good as any, {} holds"
    suite.lines[0]["edits"] = [edit("P36", "Mexico", "Mexico City", "As"), edit("P36", "Mexico", "As", "Nagoya")]
    suite.lines[1]["edits"] = [
        edit("P36", "Japan", "North Town", "South Town"),
        edit("P36", "Japan", "South Town", "Japanese"),
    ]
    _, document = check(str(suite.write()))
    assert found(document, "leaks") == [
        (
            "warning",
            "P36-0000",
            "1 of 11 prompts of P36 give 'As' away: 'as' stands in it ('As good as any, {} holds')",
        ),
        ("warning", "P36-0000", "the subject 'Mexico' gives 'Mexico City' away: 'mexico' stands in it"),
        ("warning", "P36-0001", "the subject 'Japan' gives 'Japanese' away: 'japan' begins as 'japanese' does"),
        ("note", "P36-0001", "'South Town' and what it replaces, 'North Town', are alike: 'town' stands in it"),
    ]


def test_lengths_in_words_and_in_tokens(
    check: Callable[..., Any], small: Callable[[str], SmallSuite], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = small("coverage")
    suite.lines[0]["edits"][0]["new_object"] = suite.lines[0]["edits"][1]["object"] = "the old town of Rome"
    path = str(suite.write())
    _, document = check(path)
    assert found(document, "lengths") == [
        ("warning", "P36-0000", "edit 1 replaces 'Paris' (1 word) by 'the old town of Rome' (5)"),
        ("warning", "P36-0000", "edit 2 replaces 'the old town of Rome' (5 words) by 'Oslo' (1)"),
    ]
    monkeypatch.setattr(COMMAND, "_tokens", lambda model: Letters())
    _, document = check(path, "--model=gpt2")
    assert found(document, "lengths")[0] == (
        "warning", "P36-0000", "edit 1 replaces 'Paris' (6 tokens) by 'the old town of Rome' (21)",
    )  # fmt: skip
    assert found(document, "tokens") == []


class Letters:
    """A tokenizer of single letters."""

    def prompt(self, text: str) -> tuple[int, ...]:
        return tuple(map(ord, text))

    def target(self, label: str, joiner: str = " ") -> tuple[int, ...]:
        return self.prompt(f"{joiner}{label}")


def test_what_a_tokenizer_cannot_write_or_merges(
    check: Callable[..., Any], small: Callable[[str], SmallSuite], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_editpitfalls.engine.tokens import Encoder

    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    words = {
        "[UNK]": 0,
        "a": 1,
        **{w: n for n, w in enumerate(["The", "capital", "of", "France", "is", "Paris", "Rome", "Japan", "Tokyo"], 2)},
    }
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]")
    monkeypatch.setattr(COMMAND, "_tokens", lambda model: Encoder(tokenizer))
    status, document = check(str(small("coverage").write()), "--model=gpt2")
    assert status == 1, "a case that cannot be asked is an error in a suite of one's own"
    assert {what for _, _, what in found(document, "tokens")} == {
        "the model's tokenizer does not know all of the target 'Oslo'"
    }


def test_wording(check: Callable[..., Any], small: Callable[[str], SmallSuite]) -> None:
    suite = small("coverage")
    prompts = suite.relations["P36"]["paraphrases"]
    prompts[0] = "{} has its capital in"
    prompts[1] = "Of the {} it holds"
    prompts[2] = "Of {}  it holds"
    prompts[3] = "Of{} it holds"
    suite.lines[0]["edits"] = [edit("P36", "the Hague", "Paris", "Rome"), edit("P36", "the Hague", "Rome", "Oslo")]
    _, document = check(str(suite.write()))
    assert [each for each in found(document, "wording") if each[1] == "P36-0000"] == [
        ("warning", "P36-0000", "a sentence begins in lower case in 1 prompt: 'the Hague has its capital in'"),
        ("warning", "P36-0000", "two articles in 1 prompt: 'Of the the Hague it holds'"),
        ("warning", "P36-0000", "two spaces in 1 prompt: 'Of the Hague  it holds'"),
        ("warning", "P36-0000", "no space beside the subject in 1 prompt: 'Ofthe Hague it holds'"),
    ]


def test_labels(check: Callable[..., Any], small: Callable[[str], SmallSuite]) -> None:
    suite = small("round")
    suite.lines[0]["true_objects"] = ["tree", "palm tree"]
    suite.lines[1]["edits"] = [edit("P279", "Q42", "fish", "fish soup")]
    _, document = check(str(suite.write()))
    assert found(document, "labels") == [
        ("warning", "P279-0000", "of two true objects one holds the other: 'tree', 'palm tree'"),
        ("warning", "P279-0001", "'Q42' is an id of Wikidata, not a label"),
        (
            "warning",
            "P279-0001",
            "of what edit 1 replaces and writes, one holds the other: 'fish', 'fish soup'",
        ),
    ]


def test_published_oddities_are_kept_and_no_errors(check: Callable[..., Any], tmp_path: Path) -> None:
    rows = json.loads((SAMPLES / "reverse_edit.json" / "seed.json").read_text())
    rows[0]["edits"][0]["object"] = rows[0]["edits"][0]["new_object"]
    (tmp_path / "reverse_edit.json").write_text(json.dumps(rows))
    (tmp_path / "conflict_prompts.json").write_bytes((SAMPLES / "conflict_prompts.json" / "seed.json").read_bytes())
    status, document = check(str(tmp_path / "reverse_edit.json"))
    assert status == 0
    assert document["suites"][0]["cases"] == len(rows)
    assert [what for level, _, what in found(document, "labels") if "by itself" in what and level == "warning"]


def test_files_of_other_benchmarks(check: Callable[..., Any]) -> None:
    status, document = check(str(SAMPLES / "zsre.json" / "seed.json"))
    assert status == 0
    assert [what for _, _, what in found(document, "schema")] == [
        "1 record: there is nothing to write (the new object is empty) (first: row 5)"
    ]


def test_the_prompts_are_shown(
    small: Callable[[str], SmallSuite], capsys: pytest.CaptureFixture[str], check: Callable[..., Any]
) -> None:
    path = str(small("coverage").write())
    with pytest.raises(SystemExit):
        main(["suites", "check", path, "--prompts"])
    out = capsys.readouterr().out
    assert "small P36-0000, old:\n  The capital of France is ... Rome\n  Number 0: of France it holds ... Rome\n" in out
    assert "2 cases of 1 suite(s)" in out
    _, document = check(path, "--prompts")
    assert document["prompts"][0] == {
        "suite": "small",
        "case": "P36-0000",
        "fact": "old",
        "object": "Rome",
        "joiner": " ",
        "prompts": ["The capital of France is", *(f"Number {number}: of France it holds" for number in range(10))],
    }


def test_few_are_shown_unless_all_are_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(COMMAND, "SHOWN", 0)
    lines = []
    for more in ((), ("--all",)):
        with pytest.raises(SystemExit):
            main(["suites", "check", str(SAMPLES / "counterfact.json" / "seed.json"), *more])
        lines.append(capsys.readouterr().out)
    assert "of leaks: --all shows them" in lines[0]
    assert "--all shows them" not in lines[1]
    assert len(lines[1]) > len(lines[0])


@pytest.mark.parametrize("spec", ["revers", "absent.toml"])
def test_what_means_nothing_is_a_usage_error(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["suites", "check", spec])
    assert left.value.code == 4
    assert "fix: " in capsys.readouterr().err


def test_what_a_review_found_in_the_shipped_suites_is_found(check: Callable[..., Any]) -> None:
    """Without errors: the review's lists are of suites that others may build anew."""
    status, document = check("all")
    assert status == 0
    assert document["counts"]["schema"] == document["counts"]["contradictions"] == {}


def test_the_published_files(check: Callable[..., Any]) -> None:
    folder = SHARED / "data" / "pitfalls" / "GPT-J"
    if not folder.is_dir():
        pytest.skip("the published files are not present (pitfalls)")
    status, document = check(str(folder / "composite_edit.json"))
    assert status == 0
    assert document["suites"][0]["cases"] == 2500
    assert {each["level"] for each in document["findings"]} <= {"warning", "note"}
