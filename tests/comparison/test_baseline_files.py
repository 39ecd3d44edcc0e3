"""The file of a baseline: comes back equal, reads well in a diff, and refuses what it is not."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from comparison_samples import case, run
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_editpitfalls.comparison import baseline as room
from pytest_editpitfalls.comparison.baseline import Baseline, incomplete, resolve
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.results.writer import write_results

SMALL = run([case("b", {"cs_exp": 1.0, "cm": 0.1}), case("a", {"cs_exp": 0.0, "cm": None}, outcome="failed")])


def test_it_comes_back_equal_and_sorted(tmp_path: Path) -> None:
    path = tmp_path / "main.json"
    Baseline.of(SMALL, machine={"system": "Linux"}).write(path)
    back = Baseline.read(path)
    assert back == Baseline.of(SMALL, machine={"system": "Linux"})
    assert [item.id for item in back.groups[0].cases] == ["a", "b"]
    assert back.machine == {"device": "cpu", "dtype": "float32", "system": "Linux"}
    assert back.by_key["reverse", "rome", "m", "b"].metrics == {"cs_exp": 1.0, "cm": 0.1}
    assert back.failed(("reverse", "rome", "m", "a"))
    assert not back.failed(("reverse", "rome", "m", "b"))
    assert not back.failed(("reverse", "rome", "m", "absent"))


@settings(max_examples=60, deadline=None)
@given(
    cases=st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)),
        min_size=1,
        max_size=6,
    ),
    editor=st.text(min_size=1, max_size=8),
)
def test_any_text_and_number_comes_back(
    cases: dict[str, tuple[float, str]], editor: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    results = run(
        [case(name, {"cm": value}, subject=subject, editor=editor) for name, (value, subject) in cases.items()]
    )
    written = Baseline.of(results)
    path = tmp_path_factory.mktemp("baseline") / "b.json"
    try:
        written.text().encode()
        path.write_text(written.text(), "utf-8")
    except UnicodeEncodeError:  # pragma: no cover - the file is ASCII, so that it cannot happen
        pytest.fail("not ASCII")
    assert Baseline.read(path) == written
    assert written.text().isascii()


def test_the_order_of_a_run_does_not_matter() -> None:
    turned = SMALL.model_copy(update={"cases": SMALL.cases[::-1]})
    assert Baseline.of(SMALL).text() == Baseline.of(turned).text()


def test_a_diff_shows_the_changed_case_alone() -> None:
    changed = run(
        [case("b", {"cs_exp": 1.0, "cm": 0.1}), case("a", {"cs_exp": 1.0, "cm": None})],
        started="2027-01-01T00:00:00+00:00",
        seconds=5.0,
    )
    before, after = (Baseline.of(results).text().splitlines() for results in (SMALL, changed))
    lines = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert sorted(line.split('"')[1] for line in lines) == ["id", "id", "started", "started"]
    for line in before:
        json.loads(line.strip().rstrip(",")) if line.startswith("   {") else None
    assert sum(line.startswith('   {"id"') for line in before) == 2


def test_12500_cases_are_small_and_quick(tmp_path: Path) -> None:
    results = run([case(f"P36-{place:05d}", {"cs_exp": 1.0, "cm": place / 3e5}) for place in range(12_500)])
    path = tmp_path / "big.json"
    Baseline.of(results).write(path)
    assert path.stat().st_size < 3_000_000
    assert len(Baseline.read(path).by_key) == 12_500


def _edited(change: Any) -> str:
    document = json.loads(Baseline.of(SMALL).text())
    change(document)
    return json.dumps(document)


WHOLE = Baseline.of(SMALL).text()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "not valid JSON"),
        (WHOLE[: len(WHOLE) // 2], "not valid JSON"),
        (WHOLE.replace("0.1", "NaN"), "'NaN' is no number"),
        (WHOLE.replace("0.1", "-Infinity"), "'-Infinity' is no number"),
        (WHOLE.replace("0.1", "1e999"), "no finite number"),
        (WHOLE.replace("0.1", '"0.1x"'), "a number"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "no baseline"),
        ('{"a": 1}', "no baseline"),
        ("7", "no baseline"),
        (_edited(lambda d: d.update(schema_version=0)), "schema version 0, this program reads 2"),
        (_edited(lambda d: d.update(schema_version=3)), "update pytest-editpitfalls"),
        (_edited(lambda d: d.update(schema_version=1)), "schema version 1, this program reads 2"),
        (_edited(lambda d: d.update(schema_version=True)), "schema version True"),
        (_edited(lambda d: d.pop("schema_version")), "schema version None"),
        (_edited(lambda d: d.update(comment="x")), "unknown field 'comment'"),
        (_edited(lambda d: d.pop("groups")), "'groups' is missing"),
        (_edited(lambda d: d["groups"][0]["cases"][0].update(outcome="fine")), "outcome"),
        (_edited(lambda d: d["groups"][0]["cases"].append(d["groups"][0]["cases"][0])), "stands in it twice"),
        (WHOLE.replace('"id": "a"', '"id": "a", "id": "c"'), "stands twice in one object"),
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, content: str, what: str) -> None:
    path = tmp_path / "main.json"
    path.write_text(content, "utf-8")
    with pytest.raises(UsageError) as caught:
        Baseline.read(path)
    assert what in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.fix


def test_a_result_file_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(SMALL, path)
    with pytest.raises(UsageError, match="result file, not a baseline") as caught:
        Baseline.read(path)
    assert "--pitfalls-save" in str(caught.value)


def test_absent_and_huge_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no such baseline"):
        Baseline.read(tmp_path / "absent.json")
    monkeypatch.setattr(room, "MAX_FILE_BYTES", 100)
    path = tmp_path / "main.json"
    path.write_text(WHOLE, "utf-8")
    with pytest.raises(UsageError, match="too large"):
        Baseline.read(path)


def test_results_without_digests_or_cases_make_no_baseline() -> None:
    with pytest.raises(UsageError, match="no cases"):
        Baseline.of(run([]))
    with pytest.raises(UsageError, match="older version"):
        Baseline.of(run([case("a")], metric_definitions=""))
    nameless = case("a")
    nameless.digest = ""
    with pytest.raises(UsageError, match="older version"):
        Baseline.of(run([nameless]))


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = resolve("main", tmp_path)
    Baseline.of(SMALL).write(path)

    def fail(source: object, destination: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UsageError, match=r"--pitfalls-save: cannot write.*No space left"):
        Baseline.of(run([case("z")])).write(path)
    assert path.read_text("utf-8") == WHOLE
    assert [entry.name for entry in path.parent.iterdir()] == ["main.json"]


def test_names_and_files(tmp_path: Path) -> None:
    assert resolve("main-1_b", tmp_path) == tmp_path / "pitfalls-baselines" / "main-1_b.json"
    assert resolve("main.json", tmp_path) == tmp_path / "main.json"
    assert resolve("a/main", tmp_path) == tmp_path / "a" / "main"
    assert resolve(str(tmp_path / "x.json"), Path("elsewhere")) == tmp_path / "x.json"
    for name in ("", "-x", "a b", "ä", "a\0.json", "a" * 101, "..", "x;y"):
        with pytest.raises(UsageError, match="is no name of a baseline"):
            resolve(name, tmp_path)


def test_only_the_folder_of_baselines_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        Baseline.of(SMALL).write(tmp_path / "absent" / "main.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        (run([case("a")]), None),
        (run([case("a")], shard="1/4"), "it ran shard 1/4 of its cases"),
        (run([case("a")], exit_status=2), "it ended early (exit status 2)"),
        (run([case("a"), case("b", outcome="error")]), "1 case ended in an error"),
        (
            run([case("a"), case("b", editor="memit"), case("b")]),
            "it has 1 of 2 cases of reverse with memit on m",
        ),
    ],
)
def test_what_makes_a_run_incomplete(results: Any, reason: str | None) -> None:
    assert incomplete(results) == ([] if reason is None else [reason])
