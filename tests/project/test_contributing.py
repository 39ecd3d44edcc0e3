"""CONTRIBUTING.md, CI and the fast tests: what they name exists, and CI runs all that the page promises."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from slow_tests import SLOW

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PLACES = ("src", "tests", "suites", "docs", ".ci", ".github")


def sessions() -> set[str]:
    """The names of noxfile.py's sessions, without importing nox."""
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list]
    assert all(ast.unparse(node.decorator_list[0]) == "nox.session" for node in found)
    return {node.name for node in found}


def test_every_session_is_told_and_exists() -> None:
    assert set(re.findall(r"nox (?:--\S+ )*-s (\w+)", PAGE)) == sessions()


def test_every_path_on_the_page_exists() -> None:
    named = {word for code in re.findall(r"`([^`\n]+)`", PAGE) for word in code.split()}
    paths = {word for word in named if word.split("/")[0] in PLACES and "/" in word and "NAME" not in word}
    assert len(paths) > 15
    for path in paths:
        assert list(ROOT.glob(path)), path


@pytest.mark.parametrize("what", ["pitfall", "editor", "family", "reader", "format of facts", "report"])
def test_recipes_are_short_and_end_in_checks(what: str) -> None:
    (recipe,) = re.findall(rf"(?ms)^### An? {what}\b[^\n]*\n(.*?)(?=^##)", PAGE)
    steps = re.findall(r"(?m)^\d\. ", recipe)
    assert 3 <= len(steps) <= 6
    assert "src/pytest_editpitfalls/" in recipe
    assert "tests/" in recipe


def test_the_workflow_runs_the_ci_script() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    assert {"push", "pull_request"} <= workflow[True].keys()  # YAML reads "on" as true
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    assert job["timeout-minutes"] <= 90


def test_ci_runs_what_the_lint_and_site_sessions_run() -> None:
    """Two lists of the same commands, so that CI needs no nox."""
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    bodies = [re.findall(rf"(?s)def {session}\(.*?\n(.*?)\n\n", noxfile) for session in ("lint", "site")]
    commands = [
        " ".join(re.findall(r'"([^"]+)"', words))
        for (body,) in bodies
        for words in re.findall(r"\(((?:\"[^\"]+\",? ?)+)(?:\*session.posargs)?\)", body)
    ]
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert commands
    assert re.findall(r"(?m)^\.venv/bin/((?!pip|python).+)$", script) == commands


def test_slow_tests_exist_and_have_a_reason() -> None:
    for path, reason in SLOW.items():
        assert (ROOT / "tests" / path).exists(), path
        assert reason


def test_what_the_architecture_names_is_there() -> None:
    """Modules, classes and functions of the walks, and the rooms of the list."""
    page, package = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), ROOT / "src" / "pytest_editpitfalls"
    rows = re.findall(r"`([\w/]+\.py)`(?: `([\w.]+)`)?", page)
    assert len(rows) > 30
    for file, name in rows:
        text = (package / file).read_text(encoding="utf-8")
        for part in filter(None, name.split(".")):
            assert re.search(rf"(?:def|class) {part}\b", text), f"{name} in {file}"
    rooms = re.search(r"```\n(plugin\.py.*?)```", page, re.S)
    assert rooms is not None
    listed = {word.rstrip("/") for line in rooms[1].splitlines() for word in re.findall(r"^(\w+)/ ", line)}
    assert listed == {path.name for path in package.iterdir() if path.is_dir() and path.name[0] not in "_."}


def test_the_files_for_github_are_as_github_reads_them(tmp_path: Path) -> None:
    """A misspelt key of a workflow or of the action fails here, and not on GitHub; those that pages show, too."""
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    workflows = [str(path) for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    for page in (ROOT / "docs").glob("*.md"):
        for block in re.findall(r"(?ms)^```ya?ml\n(.*?)^```", page.read_text(encoding="utf-8")):
            if "jobs:" in block:
                shown = tmp_path / f"{page.stem}-{len(workflows)}.yml"
                shown.write_text(block, encoding="utf-8")
                workflows.append(str(shown))
    assert len(workflows) == 4 + 3
    for schema, files in (("github-workflows", workflows), ("github-actions", [str(ROOT / "action.yml")])):
        done = subprocess.run([*check, schema, *files], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
