"""Which arguments of pytest name the module of a suite."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.options.own_facts import read_properties


def read(folder: Path, *arguments: str, **options: Any) -> bool:
    """Whether these arguments ask for properties."""
    config: Any = SimpleNamespace(
        args=list(arguments), getoption=lambda name: options.get(name), getini=lambda _: [], inicfg={}
    )
    asked = read_properties(config, folder, folder, ())
    return asked.facts == ("yes",)


@pytest.fixture(autouse=True)
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_editpitfalls.options.own_facts._knowledge", lambda *_: (("yes",), None))


@pytest.mark.parametrize(
    "argument",
    ["pitfalls/properties.py", "pitfalls/properties.py::idempotent[rome-gpt2]", "../pitfalls/properties.py::commute"],
)
def test_the_module_of_properties_asks_for_them(tmp_path: Path, argument: str) -> None:
    assert read(tmp_path, argument)


@pytest.mark.parametrize(
    "argument",
    [
        "tests/mypitfalls/properties.py::test_mine",
        "pitfalls/properties.pyx",
        "pitfalls/my_properties.py",
        "pitfalls/reverse.py::test_reverse[pitfalls/properties.py]",
    ],
)
def test_what_has_that_in_its_name_does_not(tmp_path: Path, argument: str) -> None:
    assert not read(tmp_path, argument, pitfalls_edited="checkpoint")
    with pytest.raises(UsageError, match="there is no property that the edits could be an example for"):
        read(tmp_path, argument, pitfalls_example="[]")


def test_a_file_that_exists_is_the_user_s_own(tmp_path: Path) -> None:
    (tmp_path / "pitfalls").mkdir()
    (tmp_path / "pitfalls" / "properties.py").write_text("", "utf-8")
    assert not read(tmp_path, "pitfalls/properties.py")
