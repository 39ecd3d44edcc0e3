"""Suites by name, group and path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_editpitfalls import shipped
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import topics
from pytest_editpitfalls.suites import discovery, load_suite, load_suites
from pytest_editpitfalls.suites.discovery import expand_suites, shipped_suites, suite_groups, suite_names

ROOT = Path(__file__).resolve().parents[2]


def package_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.mkdir(parents=True)
    monkeypatch.setattr(shipped, "__file__", str(path / "shipped.py"))


def test_names_and_groups() -> None:
    names = suite_names()
    assert names["reverse"] == ("reverse",)
    assert names["conflict"] + names["distortion"] == names["default"], "a run that names none is the paper's"
    assert names["default"] == ("reverse", "composite", "coverage", "easy", "hard")
    # suites in other languages run where they are named: most models cannot read them
    assert [name for name in shipped_suites() if name not in names["all"]] == ["chinese", "japanese"]
    assert names["chinese"] == ("chinese",)
    assert {topic.name for topic in topics()} & set(suite_groups()) == set(suite_groups()) - {"default", "all"}


def test_a_suite_that_nobody_asked_for_is_in_its_groups_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`default = false` keeps a suite out of a run that names none; another language keeps it out of every group."""
    for name, more in {"one": "", "two": "default = false\n", "three": 'language = "xh"\n'}.items():
        (tmp_path / f"{name}.toml").write_text(f'kind = "coverage"\n{more}', encoding="utf-8")
    monkeypatch.setattr(discovery, "suites_directory", lambda: tmp_path)
    for cached in (discovery.shipped_suites, discovery._headers, discovery.suite_groups):
        cached.cache_clear()
    try:
        assert suite_groups() == {"conflict": ("one", "two"), "default": ("one",), "all": ("one", "two")}
        assert set(shipped_suites()) == {"one", "two", "three"}
        found = expand_suites(["three", "all"])
        assert [file.path.stem for file in found] == ["three", "one", "two"]
    finally:
        monkeypatch.undo()
        for cached in (discovery.shipped_suites, discovery._headers, discovery.suite_groups):
            cached.cache_clear()


@pytest.mark.parametrize("language", ["english please", "", "EN"])
def test_a_language_is_a_tag(small_suite: Callable[[str], Any], language: str) -> None:
    header = small_suite("reverse").write()
    text = header.read_text(encoding="utf-8")
    header.write_text(f'language = "{language}"\n{text}', encoding="utf-8")
    with pytest.raises(UsageError, match="field language"):
        load_suite(header)


def test_a_source_tree_wins_over_a_stale_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package_at(tmp_path / "src" / "pytest_editpitfalls", monkeypatch)
    copy = tmp_path / "src" / "pytest_editpitfalls" / "_suites"
    copy.mkdir()
    assert shipped.suites_directory() == copy
    (tmp_path / "suites").mkdir()
    assert shipped.suites_directory() == copy, "a 'suites' folder of somebody else is not ours"
    (tmp_path / "pyproject.toml").touch()
    assert shipped.suites_directory() == tmp_path / "suites"


def test_a_wheel_uses_its_own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a source tree, a folder that happens to be called suites is not looked at."""
    package_at(tmp_path / "lib" / "site-packages" / "pytest_editpitfalls", monkeypatch)
    (tmp_path / "lib" / "suites").mkdir()
    (tmp_path / "lib" / "pyproject.toml").touch()
    with pytest.raises(UsageError, match="not installed"):
        shipped.suites_directory()
    copy = tmp_path / "lib" / "site-packages" / "pytest_editpitfalls" / "_suites"
    copy.mkdir()
    assert shipped.suites_directory() == copy


def test_names_groups_and_paths_once_and_in_order(
    small_suite: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    header = small_suite("reverse").write()
    monkeypatch.setattr(discovery, "suites_directory", lambda: tmp_path)
    found = expand_suites(["hard", "distortion", "small.toml", str(header)], base=header.parent)
    assert tuple(file.path for file in found) == (tmp_path / "hard.toml", tmp_path / "easy.toml", header.resolve())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("revers", r"unknown suite 'revers'\n  fix: did you mean 'reverse'\?"),
        ("distorsion", r"did you mean 'distortion'\?"),
        ("absent.toml", "there is no file 'absent.toml'"),
        ("absent/easy.json", "there is no file"),
        (".", r"is a directory\n  fix: name a file in it: small.toml"),
        ("small.jsonl", "is no suite file"),
    ],
)
def test_what_is_no_suite(small_suite: Callable[[str], Any], spec: str, message: str) -> None:
    header = small_suite("reverse").write()
    with pytest.raises(UsageError, match=message):
        expand_suites([spec], base=header.parent)


def test_a_group_is_not_one_suite() -> None:
    with pytest.raises(UsageError, match="'distortion' is a group of suites"):
        load_suite("distortion")


def test_suites_of_one_name_and_directory_are_refused(small_suite: Callable[[str], Any], tmp_path: Path) -> None:
    header = small_suite("reverse").write()
    for name in ("second.toml", "third.toml"):
        (tmp_path / name).write_bytes(header.read_bytes())
    names = [suite.name for suite in load_suites([str(header), str(tmp_path / "second.toml")])]
    assert names == ["small", f"{tmp_path.name}-small"]
    with pytest.raises(UsageError, match="two suites are called"):
        load_suites([str(tmp_path / name) for name in ("small.toml", "second.toml", "third.toml")])


@pytest.mark.parametrize("name", shipped_suites())
def test_the_suites_that_ship_load(name: str) -> None:
    path = ROOT / "suites" / f"{name}.toml"
    suite = load_suite(path)
    assert (suite.name, suite.kind) == (name, shipped_suites()[name])
    # a model of this size holds few chains of facts, and a case of lifelong is a hundred edits
    few = {"append": 30, "deduction": 30, "lifelong": 10, "chinese": 20, "japanese": 20}
    assert len(suite.cases) >= few.get(name, 40)
    assert suite.license
    assert suite.provenance
    assert all(len(relation.paraphrases) >= 10 for case in suite.cases for relation in case.relations)
    assert all(case.held for case in suite.cases)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("reverse_edit.json", True),
        ("mine.toml", True),
        ("conflict_prompts.json", False),
        ("round_prompts.json", False),
        ("relations.toml", False),
        ("notes.txt", False),
    ],
)
def test_what_lies_beside_suites_is_no_suite(name: str, is_one: bool) -> None:
    """Whichever other format has its suffix: a directory of published files is trained on as it was published."""
    assert discovery.is_suite(Path(name)) is is_one
