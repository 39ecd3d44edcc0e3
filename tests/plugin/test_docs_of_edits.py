"""docs/lint-edits.md and docs/your-edits.md: their commands work, and what they show is what comes."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from plugin_helpers import command

import pytest_editpitfalls.edit_lists.suite  # noqa: F401  pytester would import it, and the kinds, once for each run
from pytest_editpitfalls.edit_lists.forms import FIELDS
from pytest_editpitfalls.edit_lists.lint import HELD, checks
from pytest_editpitfalls.pitfalls import pitfall_of
from pytest_editpitfalls.shipped import facts_directory

if TYPE_CHECKING:
    from conftest import Project

ROOT = Path(__file__).parents[2]
LINT, RUN = ROOT / "docs" / "lint-edits.md", ROOT / "docs" / "your-edits.md"
EXAMPLE = ROOT / "examples" / "planned-edits" / "edits.jsonl"
FACTS = "subject,relation,object,subject_kind,object_kind\nFrance,P36,Paris,country,city\nItaly,P36,Rome,country,city\n"


def blocks(page: Path, language: str = "") -> list[str]:
    """The fenced blocks of a language."""
    parts = re.split(r"(?m)^```", page.read_text(encoding="utf-8"))[1::2]
    return [text for name, _, text in (part.partition("\n") for part in parts) if name == language]


def commands(page: Path) -> list[list[str]]:
    return [shlex.split(line) for block in blocks(page, "sh") for line in block.splitlines()]


@pytest.fixture
def own(project: Project) -> Project:
    """A project with the example, and facts of its own beside it."""
    shutil.copy(EXAMPLE, project.path / "edits.jsonl")
    (project.path / "our-facts.csv").write_text(FACTS, encoding="utf-8")
    for name in ("relations.toml", "rules.toml"):
        shutil.copy(facts_directory() / name, project.path / name)
    project.engine("fake_engine.GOOD.update({('new', '1'): 0.6})")
    return project


def test_the_commands_of_the_lint_page_run(
    own: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(own.path)
    found = commands(LINT)
    assert len(found) >= 5
    for program, *words in found:
        assert program == "editpitfalls"
        if "--model" not in " ".join(words):
            assert command(*words) == 1  # the example has conflicts
            assert "ERROR" not in capsys.readouterr().err


def test_the_lint_page_shows_what_comes(
    own: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Conflicts and notes to the letter; of warnings, which count facts, the places."""
    monkeypatch.chdir(own.path)
    command("lint", "edits.jsonl")
    come = capsys.readouterr().out.splitlines()
    (block,) = (block for block in blocks(LINT) if block.startswith("$ editpitfalls lint"))
    shown = block.splitlines()[1:]

    def alike(line: str) -> str:
        return re.sub(r"(dependents: ).*", r"\1", re.sub(r"checked against [\d,]+ facts", "", line))

    assert list(map(alike, shown)) == list(map(alike, come)), "run: editpitfalls lint, and put it into the page"


def test_the_lint_page_names_every_kind_and_field() -> None:
    text = LINT.read_text(encoding="utf-8")
    for name in (*checks(), HELD, *FIELDS):
        assert f"| `{name}` |" in text, name


def test_the_commands_of_the_page_on_runs_collect_the_edits(own: Project) -> None:
    found = [words[1:] for words in commands(RUN) if words[0] == "pytest"]
    assert len(found) >= 3
    for words in found:
        assert len(own.pytester.runpytest_inprocess("--collect-only", "-q", *words).outlines) > 20


def test_the_runs_that_are_shown_are_of_the_example(own: Project) -> None:
    items = [line.rpartition("[")[2].rstrip("]") for line in own.ids("--pitfalls-edits=edits.jsonl")]
    shown = [block for block in blocks(RUN) if block.startswith("$ pytest --editor=")]
    assert len(shown) == 2
    for block in shown:
        named = re.findall(r"test_edits\[(?:rome|memit)-smollm2-135m-([\w-]+)\]", block)
        assert named
        assert {f"rome-smollm2-135m-{name}" for name in named} <= set(items)


def test_the_ini_keys_are_read(own: Project) -> None:
    (block,) = blocks(RUN, "ini")
    (own.path / "pytest.ini").write_text(block, encoding="utf-8")
    (own.path / "planned").mkdir()
    for name in ("edits.jsonl", "our-facts.csv"):
        shutil.move(own.path / name, own.path / "planned" / name)
    own.run("-k", "france or helpdesk").assert_outcomes(passed=2, deselected=18)
    assert own.calls("run")[-1]["requests"] == {"france": [20], "helpdesk": [20]}


def test_the_page_on_runs_names_what_is_measured() -> None:
    text = RUN.read_text(encoding="utf-8")
    for metric in ("neighbours_kept_lift", "siblings_kept", "others_kept", "ties_kept"):
        assert metric in text
    for share in ("inverses", "conclusions", "expectations"):
        assert f"`{share}`" in text
    assert all(threshold.split()[0] in text for threshold in pitfall_of("edits").thresholds)
