"""Every command of docs/other-suites.md and docs/check-suites.md runs, and shows what the page shows."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
from pathlib import Path

import pytest
from plugin_helpers import command

from pytest_editpitfalls.suites import fetched
from pytest_editpitfalls.suites.checks import checks
from pytest_editpitfalls.suites.fetched import SOURCES, RemoteFile, Source

DOCS = Path(__file__).parents[2] / "docs"
SAMPLES = Path(__file__).parents[1] / "fuzz" / "corpus"


def commands(page):
    blocks = re.findall(r"```sh\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


@pytest.fixture
def benchmarks(project, monkeypatch):
    """The files that the pages name, and a mirror of what they fetch."""
    for name in ("counterfact", "mquake"):
        shutil.copy(SAMPLES / f"{name}.json" / "seed.json", project.path / f"{name}.json")
    mirror = project.path / "mirror" / "GPT2-XL"
    mirror.mkdir(parents=True)
    files = []
    for name, suite in (("conflict_prompts.json", ""), ("reverse_edit.json", "gpt2-xl/reverse")):
        shutil.copy(SAMPLES / name / "seed.json", mirror / name)
        data = (mirror / name).read_bytes()
        files.append(RemoteFile(f"GPT2-XL/{name}", len(data), hashlib.sha256(data).hexdigest(), suite))
    small = Source("pitfalls", "a small benchmark", "MIT", "https://example.org", tuple(files))
    monkeypatch.setitem(fetched.SOURCES, "pitfalls", small)
    monkeypatch.setenv("EDITPITFALLS_CACHE", str(project.path / "cache"))
    monkeypatch.setenv("EDITPITFALLS_SUITES_URL", mirror.parent.as_uri())
    monkeypatch.chdir(project.path)


@pytest.mark.parametrize("page", ["other-suites.md", "check-suites.md"])
def test_every_command_runs(project, benchmarks, page, capsys):
    found = commands(page)
    assert len(found) >= 2
    for program, *words in found:
        if program == "editpitfalls":
            assert command(*words) == 0, words
        else:
            assert program == "pytest"
            result = project.run(*words)
            assert result.ret == 0, words
            assert result.parseoutcomes()["passed"] > 1


def test_the_lines_of_the_header(project, benchmarks):
    page = (DOCS / "other-suites.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```\n(pitfalls: .*?)```", page, re.S)
    lines = project.run("--pitfalls-suite=mquake.json::composite").outlines
    assert all(line in lines for line in shown.splitlines())


def test_the_plain_edits(project, benchmarks, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "other-suites.md").read_text(encoding="utf-8"), re.S)
    exec(compile(code, "other-suites.md", "exec"), {})
    assert capsys.readouterr().out.startswith("The capital of France is Paris -> Oslo\n")


def test_the_tables_are_those_of_the_code():
    page = (DOCS / "check-suites.md").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^\| `(\w+)` \| ", page.partition("## Fetch")[0]) == [check.name for check in checks()]
    assert re.findall(r"(?m)^\| `(\w+)` \| ", page.partition("## Fetch")[2]) == list(SOURCES)
    for source in SOURCES.values():
        assert source.what.split(" (")[1] in page
