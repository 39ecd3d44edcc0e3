"""What the project says about itself, in several files: they agree, and the lock covers what is asked for."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from trove_classifiers import classifiers

from pytest_editpitfalls.engine.outside.collection import IN_EXTRA

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def pins(name: str) -> list[Requirement]:
    """The requirements in a file of constraints, each of one exact version."""
    lines = (re.sub(r"(^|\s)#.*", "", line) for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    found = [Requirement(line) for line in lines if line.strip()]
    assert all(str(pin.specifier).startswith("==") and not pin.extras for pin in found)
    return found


def version_for(pin: Requirement) -> Version:
    (clause,) = pin.specifier
    return Version(clause.version)


def test_the_citation_agrees_with_the_project() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} < citation.keys()
    assert citation["title"] == PROJECT["name"]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Homepage"]
    (paper,) = citation["references"]
    assert paper["title"] == "Unveiling the Pitfalls of Knowledge Editing for Large Language Models"
    assert paper["identifiers"][0]["value"] == "arXiv:2310.02129"


def test_classifiers_exist_and_name_the_supported_pythons() -> None:
    assert set(PROJECT["classifiers"]) <= classifiers
    versions = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    assert versions == list(PYTHONS)
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("extra", [None, *EXTRAS])
def test_the_lock_covers_every_dependency(extra: str | None, python: str) -> None:
    system = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}
    locked: dict[str, Version] = {}
    for pin in pins("constraints.txt"):
        if pin.marker is None or pin.marker.evaluate(system):
            assert canonicalize_name(pin.name) not in locked, "two versions for one environment"
            locked[canonicalize_name(pin.name)] = version_for(pin)
    for text in EXTRAS[extra] if extra else PROJECT["dependencies"]:
        asked = Requirement(text)
        if asked.marker is None or asked.marker.evaluate(system):
            assert locked[canonicalize_name(asked.name)] in asked.specifier


def test_the_extra_for_outside_editors_is_what_their_message_names() -> None:
    names = {canonicalize_name(Requirement(text).name) for text in EXTRAS["easyedit"]}
    assert names == set(IN_EXTRA)
    page = (ROOT / "docs" / "outside-editors.md").read_text(encoding="utf-8")
    assert f'pip install "{PROJECT["name"]}[easyedit]"' in page


def test_the_lock_keeps_the_pins_that_have_a_reason() -> None:
    locked = {canonicalize_name(pin.name): version_for(pin) for pin in pins("constraints.txt")}
    for pin in pins("constraints.in"):
        assert locked[canonicalize_name(pin.name)] == version_for(pin)


def test_the_lock_names_no_place() -> None:
    """Neither a registry nor a folder: whoever installs has their own."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"(?m)^\s*-", text)
    assert not re.search(r"(?m)(^|\s)/\w", text)
