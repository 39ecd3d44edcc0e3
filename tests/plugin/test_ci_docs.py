"""The workflow of docs/ci.md: it is YAML, and every command in it has options that exist and are read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from pytest_editpitfalls.cli.app import app
from pytest_editpitfalls.options.reading import build

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "ci.md"


def workflow() -> dict[str, Any]:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    found = yaml.safe_load(block)
    assert isinstance(found, dict)
    return found


def commands() -> list[list[str]]:
    """All commands of all jobs, and those of the page's shell blocks, with the matrix's first value put in."""
    lines = [step["run"] for job in workflow()["jobs"].values() for step in job["steps"] if "run" in step]
    lines += re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    plain = [re.sub(r"\$\{\{ *matrix\.\w+ *\}\}", "1", line) for line in lines]
    assert not any("${{" in line for line in plain)
    return [shlex.split(re.split(r" \|\| ", part)[0]) for line in plain for part in line.split(" && ")]


def of(program: str) -> list[list[str]]:
    return [words[1:] for words in commands() if Path(words[0]).name == program]


def shown() -> list[list[str]]:
    """The commands that docs/reports.md shows."""
    text = (DOCS / "reports.md").read_text(encoding="utf-8")
    lines = re.findall(r"(?m)^(?:\$ )?(editpitfalls .*)$", text)
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_the_jobs_are_whole() -> None:
    found = workflow()
    assert {"name", "permissions", "env", "jobs"} < found.keys()
    assert {"pull_request", "schedule", "workflow_dispatch"} == found[True].keys()  # YAML reads "on" as true
    assert found["permissions"] == {"contents": "read"}
    for name, job in found["jobs"].items():
        assert job.keys() >= {"runs-on", "steps", "timeout-minutes"}, name
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])
        assert job.get("needs", "nightly") in found["jobs"]
    shards = found["jobs"]["nightly"]["strategy"]["matrix"]["shard"]
    assert shards == list(range(1, len(shards) + 1))
    (shard,) = [word for words in of("pytest") for word in words if word.startswith("--pitfalls-shard=")]
    assert shard == f"--pitfalls-shard=1/{len(shards)}"


@pytest.mark.parametrize("words", of("pytest"), ids=lambda words: " ".join(words)[:60])
def test_pytest_knows_the_options(pytester: pytest.Pytester, words: list[str]) -> None:
    config = pytester.parseconfig("-p", "no:cacheprovider", *words)
    run = build(config, ["json", "html", "markdown"])
    assert run is not None
    assert run.editors
    assert not config.args or config.args == [str(pytester.path)]
    gates = [word.partition("=")[2] for word in words if word.startswith("--pitfalls-fail-on=")]
    assert list(run.relative_gates) == gates
    if gates:
        from pytest_editpitfalls.comparison.relative_gates import parse_relative_gate
        from pytest_editpitfalls.suites.discovery import shipped_suites

        assert [parse_relative_gate(gate, shipped_suites()).amount for gate in gates]


@pytest.mark.parametrize("words", [*of("editpitfalls"), *shown()], ids=lambda words: " ".join(words)[:60])
def test_the_command_knows_the_options(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    with command.make_context(command.name, list(words)) as context:
        assert context.params


def test_the_tests_above_see_the_commands() -> None:
    assert len(of("pytest")) == 4
    assert len(of("editpitfalls")) == 2
    assert {words[0] for words in shown()} == {"compare", "report", "noise", "plot", "table", "export"}
