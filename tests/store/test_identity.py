"""What is in a key and what is not: a change that can change a number gives another key, no other change does."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from store_samples import CASE, HEADER, case, changed, description, header, settings

from pytest_editpitfalls.cases.case import HeldFact, Relation
from pytest_editpitfalls.cases.digests import suite_digest
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.in_place.declare import in_place_editor
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import Case, Edit, compile_case
from pytest_editpitfalls.pitfalls.composite import CompositeRow
from pytest_editpitfalls.program import SuitePrograms
from pytest_editpitfalls.store import identity
from pytest_editpitfalls.store.identity import ModelName, RunHeader, case_key, chain_identity, plain, run_header


@pytest.fixture(autouse=True)
def no_editors_left() -> Iterator[None]:
    yield
    EDITORS.forget_added()


def made(label: str = "rome", told: dict[str, Any] | None = None, **changes: Any) -> RunHeader:
    return run_header(label, settings(**changes), told or description(), model_label="tiny", run_id="this run")


CHANGES: dict[str, Any] = {
    "editor": "rome+mle",
    "hyperparameters": {**HEADER.hyperparameters, "v_lr": 0.25},
    "editor_facts": {"network": "b" * 64},
    "editor_source": "b" * 64,
    "fingerprint": "b" * 64,
    "seed": 1,
    "dtype": "bfloat16",
    "versions": {"torch": "2.13.1", "transformers": "5.23.0"},
    "engine_source": "b" * 64,
    "takes_suite": True,
    "once": "run 1",
}


def test_every_field_is_in_the_key_or_named_as_one_that_is_not() -> None:
    assert set(CHANGES) | {"format", "models", "description"} == set(RunHeader.model_fields)
    keys = {name: header(**{name: value}).key for name, value in CHANGES.items()}
    assert len({HEADER.key, *keys.values()}) == len(CHANGES) + 1
    assert header(versions={"torch": "2.13.0", "transformers": "5.23.1"}).key != HEADER.key
    assert header(models=[ModelName(label="x", source="y")], description={"other": 1}).key == HEADER.key
    assert HEADER.with_description({"a": 1}).key == HEADER.key
    assert HEADER.with_description({"a": 1}).description == {"a": 1}


def test_a_key_does_not_depend_on_the_order_of_names() -> None:
    turned = dict(reversed(HEADER.hyperparameters.items()))
    assert list(turned) != list(HEADER.hyperparameters)
    assert header(hyperparameters=turned).key == HEADER.key


def test_what_a_shipped_editor_is_given_is_in_the_key() -> None:
    base = made()
    assert made().key == base.key
    different = [
        made("memit"),
        made("rome+mle"),
        made(overrides={"rome": {"v_lr": "0.1"}}),
        made(config_tables={"rome": {"layers": [5]}}),
        made(told=description(fingerprint="0" * 64)),
        made(told=description(dtype="bfloat16")),
        made(told=description() | {"seed": 1}),
        made(told=description() | {"versions": {"torch": "2.14", "transformers": "5.23.0"}}),
        made(told=description() | {"versions": {"torch": "2.13.0", "transformers": "5.24"}}),
    ]
    assert len({base.key, *(each.key for each in different)}) == len(different) + 1
    assert base.once is None
    assert base.editor_source == base.engine_source
    assert "source" not in base.hyperparameters
    assert made(overrides={"rome": {"v_lr": "0.5"}}).key == base.key  # typed, but what it is anyway
    assert made(overrides={"memit": {"v_lr": "0.1"}}).key == base.key  # somebody else's


def test_a_declaration_that_does_not_ship_is_in_the_key() -> None:
    """One that ships is covered by the digest of the engine's source."""
    paths = {"blocks": "model.layers", "down_projection": "mlp.down_proj"}
    ours = made(told=description(declared_by="package fam 1.0", declaration=paths))
    assert ours.key != made().key
    assert ours.key != made(told=description(declaration=paths | {"down_projection": "mlp.up_proj"})).key
    assert ours.key == made(told=description(declared_by="package fam 1.1", declaration=paths)).key


def test_what_changes_no_number_is_not_in_the_key() -> None:
    base = made()
    told = description(device="cuda:0 (H100)", name="elsewhere/tiny") | {
        "threads": 16,
        "seconds": {"load": 9},
    }
    told["editor"] = told["editor"] | {"context_templates": ["{}", "The {}"], "second_moment": {"tokens": 5}}
    assert made(told=told, device="cuda", batch_size=3).key == base.key
    assert made(told=told).description != base.description
    other = run_header("rome", settings(), description(), model_label="copy", run_id="another run")
    assert other.key == base.key


@pytest.mark.parametrize("name", ["mom2_corpus", "mom2_npz"])
def test_a_file_counts_by_its_content(tmp_path: Path, name: str) -> None:
    first, moved = tmp_path / "corpus", tmp_path / "elsewhere"
    first.write_text("one text\n")
    before = made(overrides={"rome": {name: str(first)}})
    first.write_text("one test\n")  # the same length, perhaps at the same time
    assert made(overrides={"rome": {name: str(first)}}).key != before.key
    moved.write_text("one text\n")
    again = made(overrides={"rome": {name: str(moved)}})
    assert again.key == before.key
    assert str(tmp_path) not in str(again.identity)
    assert before.key != made().key
    relative = made(config_tables={"rome": {name: "elsewhere"}}, config_path=tmp_path / "editors.toml")
    assert relative.key == before.key


def test_the_network_of_mend_counts_by_its_content(tmp_path: Path) -> None:
    network = tmp_path / "mend.safetensors"
    network.write_bytes(b"first")
    before = made("mend", overrides={"mend": {"weights": str(network)}})
    network.write_bytes(b"other")
    assert made("mend", overrides={"mend": {"weights": str(network)}}).key != before.key


def test_an_editor_that_takes_from_its_suite_is_keyed_by_the_suite() -> None:
    suite = SuitePrograms("reverse", lambda: [compile_case(case(number)) for number in range(3)])
    fewer = SuitePrograms("reverse", lambda: [compile_case(case(number)) for number in range(2)])
    turned = SuitePrograms("reverse", lambda: [compile_case(case(number)) for number in (1, 0, 2)])
    same = SuitePrograms("again", lambda: [compile_case(case(number)) for number in range(3)])
    assert suite_digest(suite) == suite_digest(same)
    ike, rome = made("ike"), made("rome")
    assert ike.takes_suite
    assert not rome.takes_suite
    program = compile_case(CASE)
    keys = [case_key(ike, CASE, program, each) for each in (suite, fewer, turned)]
    assert len(set(keys)) == 3
    assert case_key(ike, CASE, program, same) == keys[0]
    assert len({case_key(rome, CASE, program, each) for each in (suite, fewer, turned, None)}) == 1


CASE_CHANGES: list[dict[str, Any]] = [
    {"kind": "coverage"},
    {"row": changed(id="P36-0001").row},
    {"row": changed(edits=(Edit("P36", "France", "Paris", "Oslo"), CASE.edits[1])).row},
    {"row": changed(edits=(CASE.edits[0], Edit("P1376", "Rome", "France", "Chad"))).row},
    {"row": CompositeRow.model_construct(**dict(CASE.row), tied=CASE.edits[0].before)},
    {"relations": (Relation("P36", "The capital of {} is", ("{}'s main city is",)), CASE.relations[1])},
    {"relations": (Relation("P36", "The capital of {}:", ("{}'s capital is",)), CASE.relations[1])},
    {"held": (HeldFact("edit1", CASE.edits[0].before, ("Rome", "Oslo")),)},
]


@pytest.mark.parametrize("change", CASE_CHANGES, ids=[",".join(change) for change in CASE_CHANGES])
def test_what_a_case_says_is_in_its_key(change: dict[str, Any]) -> None:
    other: Case = replace(CASE, **change)
    program = compile_case(CASE)
    assert case_key(HEADER, other, program) != case_key(HEADER, CASE, program)


def test_where_a_case_is_from_is_not_in_its_key() -> None:
    program = compile_case(CASE)
    key = case_key(HEADER, CASE, program)
    moved = replace(CASE, source="elsewhere/reverse.jsonl", source_index=9, suite="renamed")
    assert case_key(HEADER, moved, compile_case(moved)) == key
    assert case_key(header(seed=1), CASE, program) != key
    for other in (
        replace(program, probes=program.probes[:-1]),
        replace(program, steps=program.steps[:1]),
        replace(program, states=program.states[::-1]),
        replace(program, case_id="other"),
    ):
        assert case_key(HEADER, CASE, other) != key


def edits(
    model: Any, tokenizer: Any, requests: Any, rate: float = 0.5, net: str = "", where: Path | None = None
) -> None:
    """Somebody's editor."""


def test_somebodys_editor(tmp_path: Path) -> None:
    EDITORS.add("own", edits, origin="a test")
    base = made("own")
    assert base.once is None
    assert base.takes_suite
    assert base.editor_source not in (None, base.engine_source)
    assert base.hyperparameters == {"rate": 0.5, "net": "", "where": None}
    assert made("own", overrides={"own": {"rate": "0.25"}}).key != base.key
    told = description()
    told["editor"] = {"name": "own", "hyperparameters": {"rate": 0.5}, "network": "b" * 64}
    assert made("own", told=told).key != base.key
    prepared = told | {"editor": told["editor"] | {"second_moment": {"tokens": 3}, "context_templates": ["{}"]}}
    assert made("own", told=prepared).key == made("own", told=told).key
    net = tmp_path / "net.pt"
    net.write_bytes(b"first")
    text = made("own", overrides={"own": {"net": str(net)}})
    path = made("own", overrides={"own": {"where": str(net)}})
    assert path.hyperparameters["where"] != str(net)
    net.write_bytes(b"other")
    assert made("own", overrides={"own": {"net": str(net)}}).key != text.key
    assert made("own", overrides={"own": {"where": str(net)}}).key != path.key


def test_a_folder_counts_by_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    EDITORS.add("own", edits, origin="a test")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a").write_text("1")
    given = {"own": {"where": str(folder)}}
    base = made("own", overrides=given)
    assert made("own", overrides=given).key == base.key
    (folder / "b").write_text("1")
    more = made("own", overrides=given)
    assert more.key != base.key
    (folder / "b").rename(folder / "c")
    assert made("own", overrides=given).key not in (base.key, more.key)
    monkeypatch.setattr(identity, "_MAX_FOLDER", 1)
    large = made("own", overrides=given)
    assert large.once == "this run"  # by its content it cannot be known, so no other run may have it


def test_an_editor_without_readable_source_is_keyed_by_the_run() -> None:
    space: dict[str, Any] = {}
    # not by a plain exec: a module with one in it has no key, and the other tests' editor is in this one
    builtins.exec("def typed_in(model, tokenizer, requests): pass", space)
    EDITORS.add("typed", in_place_editor()(space["typed_in"]), origin="a test")
    mine = made("typed")
    assert (mine.editor_source, mine.once) == (None, "this run")
    again = run_header("typed", settings(), description(), model_label="tiny", run_id="this run")
    other = run_header("typed", settings(), description(), model_label="tiny", run_id="another run")
    assert mine.key == again.key != other.key


def test_mistakes_of_the_user_are_said() -> None:
    with pytest.raises(UsageError, match="unknown editor 'rom'"):
        made("rom")
    with pytest.raises(UsageError, match="unknown hyper-parameter 'v_lrr'"):
        made(overrides={"rome": {"v_lrr": "0.1"}})


def test_any_description_becomes_plain_json() -> None:
    class Version(str):
        pass

    found = plain({1: (Version("2"), {3}, float("nan"), float("inf"), b"x", None, True, 10**30, "\ud800")})
    assert found == {"1": ["2", [3], "nan", "inf", "b'x'", None, True, 10**30, "\\ud800"]}
    assert type(found["1"][0]) is str
    assert plain([object(), plain]) == ["<object object>", "<function plain>"]  # the same in every process
    assert plain("look at 0x10") == "look at 0x10"
    assert RunHeader.model_validate_json(header(description=found).model_dump_json()).description == found


def test_a_chain_is_another_one_where_a_result_would_be() -> None:
    suite, other = SuitePrograms("a", lambda: (compile_case(CASE),)), SuitePrograms("b", tuple)
    assert chain_identity(HEADER, suite) == chain_identity(HEADER, other) is not None
    takes = header(takes_suite=True)
    assert chain_identity(takes, suite) != chain_identity(takes, other)
    different = {chain_identity(header(**{name: CHANGES[name]}), suite) for name in ("editor_source", "engine_source")}
    assert len(different | {chain_identity(HEADER, suite)}) == 3
    assert chain_identity(header(once="run 1"), suite) is None
