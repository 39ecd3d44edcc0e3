"""``editpitfalls lint``: what clashes in a list of edits is found, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lint_knowledge import facts, small_knowledge, write_knowledge
from planted_edits import planted

from pytest_editpitfalls.cli.app import main
from pytest_editpitfalls.edit_lists.lint import checks, lint
from pytest_editpitfalls.edit_lists.reading import read_edits
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.knowledge import Knowledge, load_knowledge
from pytest_editpitfalls.knowledge.knowledge import shipped_tables
from pytest_editpitfalls.program import HeldAnswer, HeldQuestion

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def knowledge(tmp_path_factory: pytest.TempPathFactory) -> Knowledge:
    return small_knowledge(tmp_path_factory.mktemp("knowledge"))


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "400")
    options = write_knowledge(tmp_path / "knowledge")

    def command(edits: object, *args: str, name: str = "edits.jsonl") -> tuple[int, str, str]:
        path = tmp_path / name
        if isinstance(edits, str):
            path.write_text(edits, encoding="utf-8")
        else:
            path.write_text("".join(json.dumps(each) + "\n" for each in edits), encoding="utf-8")  # type: ignore[attr-defined]
        with pytest.raises(SystemExit) as left:
            main(["lint", str(path), *options, *args])
        found = capsys.readouterr()
        return int(left.value.code or 0), found.out, found.err

    return command


def edit(subject: str, relation: str, target: str, **more: str) -> dict[str, str]:
    return {"subject": subject, "relation": relation, "target_new": target, **more}


def findings(
    tmp_path: Path, knowledge: Knowledge, edits: Iterable[dict[str, str]]
) -> set[tuple[str, str, tuple[int, ...]]]:
    path = tmp_path / "edits.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in edits), encoding="utf-8")
    report = lint(read_edits(path, knowledge.relations), knowledge)
    return {(kind, f.severity, tuple(each.number for each in f.edits)) for kind, f in report.findings}


CLASHES: dict[str, tuple[list[dict[str, str]], set[tuple[str, str, tuple[int, ...]]]]] = {
    "two targets, by an alias of the subject": (
        [edit("Country 1", "mascot", "owl"), edit("Republic of Country 1", "EMBLEM", "elk")],
        {("two-targets", "conflict", (1, 2))},
    ),
    "the same target by an alias is the same edit": (
        [edit("Country 1", "P30", "Farland"), edit("the Republic of Country 1", "continent", "farland")],
        {("duplicate", "note", (1, 2)), ("dependents", "warning", (1,)), ("dependents", "warning", (2,))},
    ),
    "several objects where a subject has several": (
        [edit("Country 1", "crop", "rye"), edit("Country 1", "crop", "oats")],
        set(),
    ),
    "an edit back": (
        [edit("City 1.2", "mascot", "owl"), edit("City 1.2", "mascot", "Bird 3")],
        {("reversal", "conflict", (1, 2))},
    ),
    "an edit back by what the list says, of a relation with several objects": (
        [edit("Country 1", "crop", "rye", target_true="oats"), edit("Country 1", "crop", "oats", target_true="rye")],
        {("reversal", "warning", (1, 2)), ("other-truth", "note", (1,))},
    ),
    "prompts of no known relation": (
        [
            {"subject": "Ann", "prompt": "{} drinks", "target_new": "tea"},
            {"subject": "Ann", "prompt": "{} drinks.", "target_new": "milk"},
            {"subject": "Ann", "prompt": "{} eats", "target_new": "cake"},
        ],
        {("two-targets", "warning", (1, 2))},
    ),
    "one object for two subjects": (
        [edit("Country 1", "P36", "Xville"), edit("Country 2", "P36", "Xville")],
        {("two-subjects", "conflict", (1, 2)), ("dependents", "warning", (1,)), ("dependents", "warning", (2,))},
    ),
    "one object for two subjects where several may have it": (
        [edit("City 1.2", "mascot", "owl"), edit("City 2.2", "mascot", "owl")],
        set(),
    ),
    "an inverse that agrees": (
        [edit("Country 1", "P36", "City 1.1"), edit("City 1.1", "P1376", "Republic of Country 1")],
        {("dependents", "warning", (1,))},
    ),
    "an inverse that does not": (
        [edit("Country 1", "P36", "City 1.1"), edit("City 1.1", "P1376", "Nowhere")],
        {("inverse", "conflict", (1, 2)), ("dependents", "warning", (1,))},
    ),
    "a capital that stays another country's": (
        [edit("Country 1", "P36", "Old Town 2")],
        {("standing-fact", "conflict", (1,)), ("dependents", "warning", (1,))},
    ),
    "a capital whose country gets another": (
        [edit("Country 1", "P36", "City 2.0"), edit("Country 2", "P36", "City 2.1")],
        {("dependents", "warning", (1,)), ("dependents", "warning", (2,))},
    ),
    "a capital that is told to leave its country": (
        [edit("Country 1", "P36", "City 2.0"), edit("City 2.0", "P1376", "Country 1")],
        {("dependents", "warning", (1,)), ("dependents", "warning", (2,))},
    ),
    "a conclusion against facts that stay": (
        [edit("City 1.2", "P30", "Farland")],
        {("standing-fact", "conflict", (1,))},
    ),
    "a conclusion by a default rule": (
        [edit("City 1.2", "P37", "Latin")],
        {("standing-fact", "warning", (1,))},
    ),
    "premise and conclusion": (
        [edit("Country 1", "P30", "Farland"), edit("City 1.2", "P30", "Oldland")],
        {("composition", "conflict", (1, 2)), ("dependents", "warning", (1,))},
    ),
    "premise and conclusion that agree": (
        [edit("Country 1", "P30", "Farland"), edit("City 1.2", "P30", "Farland")],
        {("dependents", "warning", (1,))},
    ),
    "premise and conclusion of other countries": (
        [edit("Country 1", "P30", "Farland"), edit("City 2.1", "P30", "Midland")],
        {("dependents", "warning", (1,)), ("no-op", "note", (2,))},
    ),
    "a link, a premise and a conclusion, all edited": (
        [edit("Xville", "P17", "Nowhere"), edit("Nowhere", "P30", "Farland"), edit("Xville", "P30", "Oldland")],
        {("composition", "conflict", (1, 2, 3))},
    ),
    "a link whose former conclusion goes with it": (
        [edit("City 1.1", "P17", "Country 2")],
        {("dependents", "warning", (1,))},
    ),
    "a circle of edits": (
        [edit("a", "P361", "b"), edit("b", "P361", "c"), edit("c", "P361", "a"), edit("c", "P361", "d")],
        {("cycle", "conflict", (1, 2, 3))},
    ),
    "a circle with facts": (
        [edit("Wagon 1", "P361", "Spoke 1")],
        {("cycle", "conflict", (1,))},
    ),
    "a circle with a relation and its inverse": (
        [edit("x", "P361", "y"), edit("x", "P527", "y")],
        {("cycle", "conflict", (1, 2))},
    ),
    "a thing that is part of itself": ([edit("x", "P361", "x")], {("cycle", "conflict", (1,))}),
    "no circle: a fact on the way is replaced": (
        [edit("Wagon 1", "P361", "Spoke 1"), edit("Wheel 1", "P361", "Cart", target_true="Wagon 1")],
        {("dependents", "warning", (2,))},
    ),
    "true already, and a wrong truth": (
        [
            edit("Country 1", "mascot", "Beast 1"),
            edit("Country 2", "mascot", "owl", target_true="elk"),
            edit("Country 3", "mascot", "Beast 3", target_true="Beast 3"),
        ],
        {("no-op", "note", (1,)), ("other-truth", "note", (2,)), ("no-op", "note", (3,))},
    ),
}


@pytest.mark.parametrize("name", CLASHES)
def test_what_clashes_is_found_and_nothing_else(tmp_path: Path, knowledge: Knowledge, name: str) -> None:
    edits, expected = CLASHES[name]
    assert findings(tmp_path, knowledge, edits) == expected


def test_every_kind_of_finding_has_an_example() -> None:
    assert {kind for _, found in CLASHES.values() for kind, *_ in found} == set(checks())


@pytest.mark.parametrize("seed", range(4))
def test_30_conflicts_among_1000_edits(tmp_path: Path, knowledge: Knowledge, seed: int) -> None:
    _all_found(tmp_path, knowledge, seed)


@pytest.mark.parametrize("seed", range(2))
def test_30_conflicts_among_1000_edits_of_the_shipped_facts(tmp_path: Path, seed: int) -> None:
    if not shipped_tables():
        pytest.skip("no facts are shipped")
    _all_found(tmp_path, load_knowledge(), seed)


def _all_found(tmp_path: Path, knowledge: Knowledge, seed: int) -> None:
    plan = planted(knowledge, seed)
    assert (len(plan.edits), len(plan.expected)) == (1000, 30)
    report = lint(read_edits(plan.write(tmp_path / "edits.jsonl"), knowledge.relations), knowledge)
    found = {(kind, frozenset(e.id for e in f.edits)) for kind, f in report.findings if f.severity == "conflict"}
    assert found == plan.expected
    assert report.count("conflict") == 30


def test_the_work_grows_with_the_list_and_no_faster(
    tmp_path: Path, knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All edits are about one country's cities, where each could be held against every other."""
    calls: Counter[str] = Counter()
    for name in ("of", "to", "is_true"):
        method = getattr(Knowledge, name)

        def counted(self: Knowledge, *args: Any, _method: Any = method, _name: str = name) -> Any:
            calls[_name] += 1
            return _method(self, *args)

        monkeypatch.setattr(Knowledge, name, counted)

    def work(number: int) -> int:
        calls.clear()
        edits = [edit("Country 1", "P30", "Farland"), edit("Country 1", "P37", "Latin")]
        edits += [edit(f"Xville {n}", "P17", "Country 1") for n in range(number)]
        edits += [edit(f"Xville {n}", "P30", "Farland") for n in range(number)]
        edits += [edit(f"part {n}", "P361", f"part {n + 1}") for n in range(number)]
        found = findings(tmp_path, knowledge, edits)
        assert {kind for kind, *_ in found} == {"dependents"}
        return sum(calls.values())

    assert work(1000) < 2.5 * work(500)


def test_the_facts_that_depend_on_an_edit_are_counted(run: Run) -> None:
    status, out, _ = run([edit("Country 2", "P37", "Latin")])
    assert status == 0
    assert (
        "dependents: undoes Country 2 (official language): Language 2, on which 7 facts depend: City 2.0 (official"
        in out
    )
    assert "and 4 more" in out
    assert "0 conflicts, 1 warning, 0 notes" in out


def test_exit_statuses(run: Run) -> None:
    fine, warned = edit("City 1.2", "mascot", "owl"), edit("City 1.2", "P37", "Latin")
    conflict = edit("City 1.2", "mascot", "elk")
    assert run([fine])[0] == 0
    assert run([fine], "--strict")[0] == 0
    assert run([fine, warned])[0] == 0
    assert run([fine, warned], "--strict")[0] == 1
    assert run([fine, warned], "--strict", "--ignore=standing-fact")[0] == 0
    assert run([fine, conflict])[0] == 1
    status, _, err = run([fine], "--ignore=standing")
    assert status == 4
    assert "--ignore: unknown kind of finding 'standing'" in err
    assert run([fine], "--stric")[0] == 4


def test_json_has_every_edit_by_its_line(run: Run) -> None:
    edits = [
        edit("Country 1", "EMBLEM", "owl", id="first"),
        {"subject": "Country 1", "prompt": "The mascot of the {} is", "target_new": "elk"},
        {"subject": "Ann", "prompt": "{} drinks", "target_new": "tea"},
        edit("Nowhere", "mascot", "owl"),
    ]
    status, out, _ = run(edits, "--json")
    assert status == 1
    document = json.loads(out)
    assert document["summary"] == {
        "edits": 4,
        "relation_from_prompt": 1,
        "relation_unknown": 1,
        "subject_unknown": 1,
        "facts": len(facts()),
        "conflicts": 1,
        "warnings": 0,
        "notes": 0,
        "by_kind": {"two-targets": 1},
    }
    assert [(each["line"], each["id"], each["relation"], each["findings"]) for each in document["edits"]] == [
        (1, "first", "mascot", [0]),
        (2, "0002", "mascot", [0]),
        (3, "0003", None, []),
        (4, "0004", "mascot", []),
    ]
    assert document["findings"][0]["lines"] == [1, 2]
    assert document["findings"][0]["edits"] == ["first", "0002"]


def test_a_model_is_asked_what_it_holds_of_what_the_edits_undo(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model here holds every fact about a language, and no other."""
    asked: list[HeldQuestion] = []

    class Session:
        source = SimpleNamespace(short_name="tiny")

        @classmethod
        def open(cls, settings: EngineSettings, announce: Any) -> Session:
            assert (settings.model, settings.device) == ("some/model", "cpu")
            return cls()

        def held(self, questions: Sequence[HeldQuestion]) -> list[HeldAnswer]:
            asked.extend(questions)
            return [
                HeldAnswer(holds="language" in each.prompts[0], wins={}, log_probabilities={}, strongest={}, share=None)
                for each in questions
            ]

    monkeypatch.setattr("pytest_editpitfalls.engine.session.EngineSession", Session)
    edits = [edit("Country 2", "P37", "Latin"), edit("Country 3", "P36", "City 3.1"), edit("Ann", "crop", "rye")]
    status, out, _ = run(edits, "--model=some/model", "--device=cpu", "--json")
    assert status == 0
    held = [each for each in json.loads(out)["findings"] if each["kind"] == "held"]
    assert [(each["lines"], each["count"]) for each in held] == [([1], 7), ([2], 0)]
    assert held[0]["text"].startswith(
        "tiny holds Country 2 (official language): Language 2; it holds 7 of the 7 facts that depend on it: "
    )
    assert (
        held[1]["text"]
        == "tiny does not hold Country 3 (capital): City 3.0; it holds 0 of the 1 fact that depends on it"
    )
    assert asked[0].prompts == ("The official language of Country 2 is",)
    assert asked[0].object == "Language 2"
    assert (len(asked[0].candidates), asked[0].not_rivals, asked[0].scores) == (40, ("Language 2",), ("mean", "sum"))
    assert asked[-1].prompts == ("City 3.0 is the capital of",)
    assert "held" not in run(edits, "--model=some/model", "--device=cpu", "--ignore=held")[1]


def test_the_summary_says_what_is_not_known(run: Run) -> None:
    _, out, _ = run(
        [
            {"subject": "Ann", "prompt": "{} drinks", "target_new": "tea", "colour": "red"},
            {"subject": "Country 1", "prompt": "the capital of {} is:", "target_new": "City 1.1"},
            edit("Nowhere", "P36", "Xville"),
        ]
    )
    assert "1 recognised by the prompt" in out
    assert "1 with a prompt of no known relation: only compared with each other" in out
    assert "1 of a subject that no such fact is known of" in out
    assert "fields that are not read: 'colour' (first: " in out


def test_csv(run: Run) -> None:
    lines = ["subject,relation,prompt,target_new,target_true,id", 'Country 1,mascot,,"owl, grey",,']
    text = "\n".join([*lines, "Country 1,,The mascot of {} is,elk,,b", ""])
    status, out, _ = run(text, name="edits.csv")
    assert status == 1
    assert "edits.csv:3: two-targets: Country 1 (mascot): elk, but owl, grey in another edit (with line 2)" in out


def counterfact(relation: str, prompt: str, subject: str, new: str, true: str) -> dict[str, object]:
    rewrite = {"prompt": prompt, "relation_id": relation, "target_new": {"str": new}, "target_true": {"str": true}}
    more = {"paraphrase_prompts": [f"It rained. {subject} likes"], "neighborhood_prompts": ["Country 2 likes"]}
    return {"case_id": 0, "requested_rewrite": {**rewrite, "subject": subject}, **more}


def easyedit(prompt: str, subject: str, new: str, true: str) -> dict[str, object]:
    return {"prompt": prompt, "subject": subject, "target_new": new, "ground_truth": true}


@pytest.mark.parametrize(
    ("records", "form"),
    [
        (
            [
                counterfact("mascot", "{} likes the", "Country 1", "owl", "Beast 1"),
                counterfact("P36-like", "The mascot of {} is", "Country 1", "elk", "Beast 1"),
                counterfact("P19", "{} was born in", "Ann", "Rome", "Paris"),
            ],
            "CounterFact",
        ),
        (
            [
                easyedit("The mascot of Country 1 is", "Country 1", "owl", "Beast 1"),
                easyedit("The mascot of the Country 1 is", "Country 1", "elk", "Beast 1"),
                easyedit("Ann was born in", "Ann", "Rome", "Paris"),
            ],
            "KnowEdit",
        ),
    ],
)
def test_files_of_other_benchmarks(run: Run, records: list[dict[str, object]], form: str) -> None:
    status, out, _ = run(json.dumps(records), "--json", name="edits.json")
    assert status == 1
    document = json.loads(out)
    assert [(each["record"], each["id"], each["relation"], each["target_true"]) for each in document["edits"]] == [
        (1, "0001", "mascot", "Beast 1"),
        (2, "0002", "mascot", "Beast 1"),
        (3, "0003", None, "Paris"),
    ]
    assert document["findings"][0]["records"] == [1, 2]
    assert document["notes"] == [f"edits.json is a {form} file: 3 edits in 3 records"]


def test_a_json_list_and_prompts_with_their_subject_in_place(run: Run) -> None:
    own = [edit("Country 1", "mascot", "owl", target_true="Beast 1"), edit("Country 1", "mascot", "elk")]
    status, out, _ = run(json.dumps(own), "--json", name="edits.json")
    assert status == 1
    assert [each["target_true"] for each in json.loads(out)["edits"]] == ["Beast 1", None]
    _, out, _ = run([{"subject": "Country 1", "prompt": "The mascot of Country 1 is", "target_new": "elk"}], "--json")
    assert json.loads(out)["edits"][0]["relation"] == "mascot"


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("", "e.jsonl", ["e.jsonl: there are no edits in the file"]),
        ("{}", "e.txt", ["e.txt: no reader of edits knows this kind of file", "ends in .jsonl, .csv, .json"]),
        ("[]", "e.json", ["there are no edits"]),
        ("{}", "e.json", ["the file is not a list of records"]),
        ("[1]", "e.json", ["e.json, record 1: an edit is an object with named fields"]),
        ('{"subject": "a"', "e.jsonl", ["e.jsonl:1: not valid JSON"]),
        ('\n{"subject": "a", "relation": "P36"}', "e.jsonl", ["e.jsonl:2, field target_new: 'target_new' is missing"]),
        (
            '{"subject": "", "relation": "P36", "target_new": "b"}',
            "e.jsonl",
            ["e.jsonl:1, field subject: the text is empty"],
        ),
        (
            '{"subject": "a", "target_new": "b"}',
            "e.jsonl",
            ["e.jsonl:1, field relation: neither a relation nor a prompt"],
        ),
        ('{"subject": 3, "relation": "P36", "target_new": "b"}', "e.jsonl", ["e.jsonl:1, field subject"]),
        (
            '{"subject": "a", "relation": "captial", "target_new": "b"}',
            "e.jsonl",
            ["e.jsonl:1, field relation: unknown relation 'captial'", "did you mean 'capital'"],
        ),
        (
            '{"subject": "a", "prompt": "{} and {}", "target_new": "b"}',
            "e.jsonl",
            ["e.jsonl:1, field prompt: a prompt needs exactly one {}"],
        ),
        (
            '{"subject": "Ann", "prompt": "Bob drinks", "target_new": "tea"}',
            "e.jsonl",
            ["e.jsonl:1, field prompt: the subject 'Ann' does not stand in the prompt"],
        ),
        (
            '{"subject": "a", "subject": "c", "relation": "P36", "target_new": "b"}',
            "e.jsonl",
            ["e.jsonl:1: the field 'subject' stands twice"],
        ),
        ("subject,target\na,b\n", "e.csv", ["e.csv:1: there is no column 'target_new'", "did you mean 'target'"]),
        ("subject,relation,target_new\na,P36,b,c\n", "e.csv", ["e.csv:2: the line has more fields than the header"]),
        ('subject,relation,target_new\na,P36,"b\n', "e.csv", ["not valid CSV"]),
        (
            '[{"requested_rewrite": {"prompt": "{} is", "relation_id": "P1", "target_new": {}, "subject": "a"}}]',
            "e.json",
            ["e.json, row 0", "target_new"],
        ),
        (
            '{"id": "x", "subject": "a", "relation": "P36", "target_new": "b"}\n' * 2,
            "e.jsonl",
            ["e.jsonl:2, field id: the id 'x' is that of", "e.jsonl:1, too"],
        ),
        (
            '{"subject": "a", "relation": "P36"}\n{"relation": "P36", "target_new": "b"}\n',
            "e.jsonl",
            ["2 mistakes", "e.jsonl:1, field target_new", "e.jsonl:2, field subject"],
        ),
    ],
)
def test_every_mistake_is_named_with_file_line_and_field(run: Run, text: str, name: str, words: list[str]) -> None:
    status, out, err = run(text, name=name)
    assert (status, out) == (4, "")
    for word in words:
        assert word in err


def test_a_list_that_is_not_there(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["lint", str(tmp_path / "none.jsonl"), *write_knowledge(tmp_path)])
    assert left.value.code == 4
    assert "none.jsonl: cannot read the file: No such file or directory" in capsys.readouterr().err


def test_labels_of_a_list_cannot_command_the_terminal(run: Run) -> None:
    _, out, _ = run([edit("Ann\u202eX", "mascot", "owl"), edit("Ann\u202eX", "mascot", "elk")])
    assert "\u202e" not in out
    assert "Ann\\u202eX (mascot): elk" in out
