"""Files of other benchmarks as lists of edits: `editpitfalls lint` and `--pitfalls-edits` read the same records."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pytest_editpitfalls.edit_lists.reading import read_edits
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.knowledge import Relations
from pytest_editpitfalls.knowledge.relations import read_relations
from pytest_editpitfalls.shipped import facts_directory

SAMPLES = Path(__file__).parents[1] / "fuzz" / "corpus"
COUNTS = {"zsre": 5, "ripple_edits": 8, "peak": 3, "wikibigedit": 2, "mquake": 5}


@pytest.fixture(scope="module")
def relations() -> Relations:
    return read_relations(facts_directory() / "relations.toml")


@pytest.mark.parametrize("name", COUNTS)
def test_every_record_that_is_an_edit_is_read(name: str, relations: Relations, tmp_path: Path) -> None:
    shutil.copy(SAMPLES / f"{name}.json" / "seed.json", tmp_path / "mine.json")
    found = read_edits(tmp_path / "mine.json", relations)
    assert len(found.edits) == COUNTS[name]
    assert found.counted == "record"
    assert all(edit.prompt.count("{}") == 1 for edit in found.edits)
    assert len({edit.id for edit in found.edits}) == len(found.edits)


def test_what_is_known_of_them(relations: Relations, tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "zsre.json" / "seed.json", tmp_path / "mine.json")
    found = read_edits(tmp_path / "mine.json", relations)
    edit = found.edits[0]
    assert (edit.subject, edit.target_true, edit.target_new) == ("France", "Paris", "Oslo")
    assert edit.paraphrases == ("Which city is the capital of {}?",)
    assert edit.neighbours == (("who painted the ceiling of the chapel?", "a painter"),)
    assert (edit.prompt, edit.stated_relation) == ("What is the capital of {}?", "")
    assert found.notes == (
        "mine.json is a zsRE file: 5 edits in 6 records",
        "records left out: 1, there is nothing to write (the new object is empty) (first: record 6)",
    )
    shutil.copy(SAMPLES / "ripple_edits.json" / "seed.json", tmp_path / "mine.json")
    edits = read_edits(tmp_path / "mine.json", relations).edits
    assert edits[0].relation == "P1376"
    assert edits[0].stated_relation == "CAPITAL_OF"
    assert edits[-1].target_true == ""


def test_a_wrong_record_is_named(relations: Relations, tmp_path: Path) -> None:
    rows = json.loads((SAMPLES / "peak.json" / "seed.json").read_text())
    rows[1]["requested_rewrite"]["subject"] = None
    (tmp_path / "mine.json").write_text(json.dumps(rows))
    with pytest.raises(UsageError, match=r"row 1 \(this is a PEAK file\)"):
        read_edits(tmp_path / "mine.json", relations)
