"""What a suite, a path or an editor says is shown, never obeyed: in no output of pytest and of the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

HOSTILE = "\x1b[2J\x9b31m\u202e\x07[red]x[/bold]\x00<b>\r\n"
SHOWN = "\\x1b[2J\\x9b31m\\u202e\\x07[red]x[/bold]\\x00<b>\\r\\n"


def harmless(text: str) -> bool:
    return text.replace("\n", "").isprintable()


def write_published(folder: Path, name: str = "reverse_edit.json", prompts: str = "{} is") -> Path:
    """Two reverse cases in the published form, every label hostile."""
    folder.mkdir(parents=True, exist_ok=True)

    def edit(relation: str, *labels: str) -> dict[str, Any]:
        names = ("subject", "object", "new_object")
        parts = {part: {"id": label, "label": f"{label}{HOSTILE}"} for part, label in zip(names, labels, strict=True)}
        return {"relation": {"id": f"{relation}{HOSTILE}", "prompt": "{} is"}, **parts}

    rows = []
    for old, new in (("A", "B"), ("C", "D")):
        edits = [edit("P1", old, "o", new), edit("P2", new, old, "E")]
        rows.append({"type": "reverse", "rule": HOSTILE, "triples": edits, "edits": edits})
    (folder / name).write_text(json.dumps(rows), encoding="utf-8")
    relations = {f"{relation}{HOSTILE}": [prompts] for relation in ("P1", "P2")}
    (folder / "conflict_prompts.json").write_text(json.dumps(relations), encoding="utf-8")
    return folder / name


EDITOR = f"""
from dataclasses import replace
from pytest_editpitfalls.engine.session import EngineSession
usual = EngineSession._scores
def scores(self, program):
    found = usual(self, program)
    said = "the editor says " + {HOSTILE!r}
    return replace(found, error=found.error and said, skipped=found.skipped and said, notes=(said,))
EngineSession._scores = scores
"""


@pytest.mark.parametrize(
    "options", [("-v", "-rA"), ("-q",), ("-v", "--tb=short", "-rA", "--showlocals"), ("--collect-only",)]
)
@pytest.mark.parametrize("out", ["lose", "errors", "skips"])
def test_nothing_of_a_suite_or_an_editor_is_obeyed(project, options, out):
    write_published(project.path / "data")
    ids = project.ids("--pitfalls-suite=data/reverse_edit.json")
    assert len(ids) == 2
    cases = [name.rpartition("smollm2-135m-")[2].removesuffix("]") for name in ids]
    project.engine(EDITOR, **{out: cases[:1]})
    result = project.run("--pitfalls-suite=data/reverse_edit.json", *options)
    text = f"{result.stdout}{result.stderr}"
    assert harmless(text), [line for line in text.splitlines() if not line.isprintable()]
    if options != ("--collect-only",) and "-q" not in options:
        assert SHOWN.removesuffix("\\n") in text


def test_names_of_folders_are_not_obeyed(project):
    """Two files of one name are told apart by their folders, whose names stand in node ids."""
    for folder in ("a", f"b{HOSTILE.replace('/', '').replace(chr(0), '')}"):
        write_published(project.path / folder)
    second = next(path for path in project.path.iterdir() if path.name.startswith("b"))
    result = project.run(
        "-v", "--pitfalls-suite=a/reverse_edit.json", f"--pitfalls-suite={second.name}/reverse_edit.json"
    )
    result.assert_outcomes(passed=4)
    assert harmless(f"{result.stdout}{result.stderr}")


def test_messages_about_a_file_are_harmless(project):
    write_published(project.path, prompts=HOSTILE)
    result = project.run("--pitfalls-suite=reverse_edit.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = f"{result.stdout}{result.stderr}"
    assert "needs a {} where the subject stands" in text
    assert harmless(text)


def test_the_list_of_editors_is_harmless(monkeypatch):
    from pytest_editpitfalls.cli import app, listing

    row = {"name": "mine", "origin": HOSTILE, "error": f"cannot be imported: {HOSTILE}"}
    monkeypatch.setattr(listing, "editor_rows", lambda: [row])
    monkeypatch.setenv("COLUMNS", "1000")
    result = CliRunner().invoke(app.app, ["editors"])
    assert result.exit_code == 0, result.output
    assert harmless(result.output)
    assert "[red]" in result.output


def test_python_beside_a_suite_is_not_run(project):
    """The suites that ship have test modules of their own; a suite from outside is data alone."""
    path = write_published(project.path / "data")
    for name in ("reverse.py", "reverse_edit.py", "conftest.py", "__init__.py"):
        (path.parent / name).write_text("raise SystemExit('run')")
    project.run("--pitfalls-suite=data/reverse_edit.json").assert_outcomes(passed=2)
