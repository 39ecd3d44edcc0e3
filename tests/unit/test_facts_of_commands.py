"""Commands that need facts say what they left out of the user's own, beside what they print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from unit.knowledge_samples import WIKIDATA, as_array, make_relations

from pytest_editpitfalls.cli.app import main


@pytest.fixture
def edits(tmp_path: Path) -> Path:
    path = tmp_path / "edits.jsonl"
    path.write_text(json.dumps({"subject": "France", "relation": "capital", "target_new": "Lima"}) + "\n")
    (tmp_path / "rules.toml").write_text(
        '[[rule]]\nid = "P17&P37>P37"\nshape = "composition"\ntied = "P17"\nfirst = "P37"\nsecond = "P37"\n'
        'strength = "default"\nwords = "the language of a country is that of its cities"\n'
    )
    make_relations(tmp_path)
    return path


def lint(edits: Path, facts: Path, *options: str) -> int:
    known = ("--relations", str(edits.parent / "relations.toml"), "--rules", str(edits.parent / "rules.toml"))
    with pytest.raises(SystemExit) as left:
        main(["lint", str(edits), "--facts", str(facts), *known, *options])
    return int(left.value.code or 0)


def test_what_is_left_out_is_told_and_json_stays_json(
    edits: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = edits.parent / "facts.csv"
    facts.write_text("subject,relation,object\nFrance,P36,Paris\n[red]x[/red],P36,\nMars,P99\x1b[31m,Base\n")
    lint(edits, facts, "--json")
    shown = capsys.readouterr()
    assert json.loads(shown.out)["summary"]["facts"] == 1
    assert "1 record left out: object is empty (first: facts.csv:3)" in shown.err
    assert "1 record left out: relation holds a control character (first: facts.csv:4)" in shown.err


def test_a_dump_in_another_language_with_overrides(edits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts, overrides = edits.parent / "dump.json", edits.parent / "mine.csv"
    facts.write_text(as_array(WIKIDATA))
    overrides.write_text("subject,relation,object,action\nFrance (de),P36,Paris (de),drop\n")
    lint(edits, facts, "--language", "de", "--overrides", str(overrides))
    shown = capsys.readouterr()
    assert "1 record left out: an override says so" in shown.err
    assert "the statement is deprecated" in shown.err


def test_a_file_that_cannot_be_read_is_one_message(edits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = edits.parent / "facts.parquet"
    facts.write_bytes(b"PAR1")
    assert lint(edits, facts) == 4
    assert "facts.parquet: the file cannot be read as Parquet" in capsys.readouterr().err
