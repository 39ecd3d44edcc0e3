"""action.yml and its script: inputs become options, a failed gate fails the step, a bad input is told beforehand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from conftest import Project

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "gate"
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="a script for bash")


def gate(room: Path, *arguments: str, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a step of a job on GitHub would."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GITHUB_", "PYTEST_", "PITFALLS_")) and name != "CI"
    }
    path = os.pathsep.join([str(room / "bin"), str(Path(sys.executable).parent), kept["PATH"]])
    files = {"GITHUB_STEP_SUMMARY": str(room / "summary.md"), "GITHUB_OUTPUT": str(room / "output")}
    github = {"GITHUB_ACTIONS": "true", "CI": "true", **files}
    variables = {f"PITFALLS_{name.upper()}": value for name, value in inputs.items()}
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        cwd=room,
        env={**kept, **github, **variables, "PATH": path, "PYTEST_ADDOPTS": "-p no:randomly", "COLUMNS": "160"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_gate_that_holds(project: Project) -> None:
    (project.path / "pytest.ini").write_text("[pytest]\npitfalls_store = kept, here\n", encoding="utf-8")
    small = project.whole("reverse", 3).partition("=")[2]
    places = gate(project.path, "places", editor="rome", suite=small)
    assert (places.returncode, places.stdout) == (0, "")
    assert outputs(project.path / "output")["store"] == str(project.path / "kept, here")
    done = gate(
        project.path, "run", "reports here", editor="rome", model="smollm2-135m", suite=small,
        arguments='--pitfalls-gate "reverse.cs_exp >= 0.9"\n-q',
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "::error" not in done.stdout
    document = json.loads((project.path / "reports here" / "pitfalls.json").read_text(encoding="utf-8"))
    assert [case["outcome"] for case in document["cases"]] == ["passed"] * 3
    assert "reverse.cs_exp >= 0.9" in document["run"]["command"]
    assert (project.path / "reports here" / "pitfalls.html").exists()
    assert any((project.path / "kept, here").iterdir())
    assert not (project.path / ".pitfalls").exists()
    assert "Pitfalls of knowledge edits" in (project.path / "summary.md").read_text(encoding="utf-8")


def test_a_gate_that_fails(project: Project) -> None:
    """The step fails as pytest does, with an annotation and the job's summary, and the reports are there."""
    small = project.whole("reverse", 3).partition("=")[2]
    case = project.ids(project.whole("reverse", 3))[0].rpartition("-smollm2-135m-")[2].rstrip("]")
    project.engine(lose=[case])
    done = gate(
        project.path, "run", "out", editor="rome", suite=small, arguments='--pitfalls-gate="reverse.cs_exp >= 0.9"'
    )
    assert done.returncode == 1, done.stdout
    assert "::error title=Gate failed%3A reverse.cs_exp >= 0.9::rome on smollm2-135m" in done.stdout
    assert "failed" in (project.path / "summary.md").read_text(encoding="utf-8")
    assert (project.path / "out" / "pitfalls.html").exists()


def test_a_baseline_is_held_against(project: Project) -> None:
    small = project.whole("reverse", 3)
    case = project.ids(small)[0].rpartition("-smollm2-135m-")[2].rstrip("]")
    assert project.run(small, "--pitfalls-save=main").ret == 0
    inputs = {"editor": "rome", "suite": small.partition("=")[2], "baseline": "main", "arguments": "--pitfalls-fresh"}
    same = gate(project.path, "run", "out", **inputs)
    assert same.returncode == 0, same.stdout
    assert "0 new failures" in same.stdout
    project.engine(lose=[case])
    worse = gate(project.path, "run", "out", **inputs)
    assert worse.returncode == 1, worse.stdout
    assert "1 new failure" in worse.stdout
    assert f"reverse {case}" in (project.path / "summary.md").read_text(encoding="utf-8")


def test_the_status_of_a_usage_error_is_kept(project: Project) -> None:
    done = gate(project.path, "run", "out", editor="romme")
    assert done.returncode == 4, done.stdout
    assert "romme" in done.stdout


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"editor": ""}, "::error title=Input editor::no editor is named. Write for instance editor: rome"),
        ({"editor": " \n "}, "::error title=Input editor::no editor is named."),
        ({"editor": "rome ''"}, "::error title=Input editor::a pair of quotes has nothing in it."),
        ({"editor": "rome", "baseline": "''"}, "::error title=Input baseline::a pair of quotes has nothing in it."),
        ({"editor": "--editor=rome"}, "::error title=Input editor::'--editor=rome' is an option. Options go into"),
        ({"editor": "rome", "suite": "-x"}, "::error title=Input suite::'-x' is an option."),
        ({"editor": "rome", "suite": "-x%0A::b"}, "::error title=Input suite::'-x%250A::b' is an option."),
        ({"editor": "rome", "folder": "x\n::warning::y"}, "there is no folder 'x%0A::warning::y'."),
        ({"editor": "rome", "baseline": "main other"}, "::error title=Input baseline::several are named: main other."),
        ({"editor": "rome", "arguments": "-k 'a b"}, "::error title=Input arguments::a quote is opened and not closed"),
        ({"editor": "rome", "arguments": "--pitfalls-json=x"}, "'--pitfalls-json=x': the action writes this file."),
        ({"editor": "rome", "python": "3.1"}, "::error title=Input python-version::3.1 is what YAML makes of 3.10"),
        ({"editor": "rome", "python": "3.9"}, "::error title=Input python-version::3.9 is too old. Python 3.10 or"),
        ({"editor": "rome", "folder": "x"}, "::error title=Input working-directory::there is no folder 'x'."),
    ],
)  # fmt: skip
def test_bad_inputs(tmp_path: Path, inputs: dict[str, str], message: str) -> None:
    done = gate(tmp_path, "check", **inputs)
    assert done.returncode == 4
    assert message in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_good_inputs_say_nothing(tmp_path: Path) -> None:
    empty = dict.fromkeys(("model", "suite", "baseline", "arguments", "install"), "")
    done = gate(tmp_path, "check", editor="rome", python="3.13", **empty)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """A ``python`` that prints its arguments, one on a line."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "python"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return tmp_path


def test_every_input_reaches_pytest_as_it_is(told: Path) -> None:
    """Several words, spaces in quotes, and nothing that a shell would run."""
    done = gate(
        told, "run", "out", editor="rome memit", model="./a-model", suite="reverse\nsuites/easy.toml", baseline="main",
        arguments="-k 'P36 or P40' -m '' --pitfalls-fail-on=\"*.cs_exp:10pp\"\n"
        "--pitfalls-set x=$(touch hole) `touch hole`;",
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "-m", "pytest", "--pitfalls-editor=rome", "--pitfalls-editor=memit", "--pitfalls-model=./a-model",
        "--pitfalls-suite=reverse", "--pitfalls-suite=suites/easy.toml", "--pitfalls-baseline=main",
        "--pitfalls-json=out/pitfalls.json", "--pitfalls-html=out/pitfalls.html",
        "-k", "P36 or P40", "-m", "", "--pitfalls-fail-on=*.cs_exp:10pp", "--pitfalls-set", "x=$(touch", "hole)",
        "`touch", "hole`;",
    ]  # fmt: skip
    assert not (told / "hole").exists()


def test_what_is_installed(told: Path) -> None:
    done = gate(told, "install", "/the action", editor="rome", install="-e . 'torch==2.13.0'")
    assert done.stdout.splitlines() == ["-m", "pip", "install", "--quiet", "/the action", "-e", ".", "torch==2.13.0"]


def test_the_action_passes_every_input_on_and_runs_none() -> None:
    scripts = [step for step in STEPS if "run" in step]
    assert [step["run"].split()[2] for step in scripts] == ["check", "install", "places", "run"]
    for step in scripts:
        assert "${{" not in step["run"], "an input in a script's text is run"
        assert step["shell"] == "bash"
    shared = [{name: value for name, value in step["env"].items() if name.startswith("PITFALLS_")} for step in scripts]
    assert all(each == shared[0] for each in shared)
    read = set(re.findall(r"\$\{(PITFALLS_\w+)", SCRIPT.read_text(encoding="utf-8")))
    assert read == set(shared[0])
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text(encoding="utf-8")))
    assert used == set(ACTION["inputs"])
    required = {name for name, each in ACTION["inputs"].items() if each.get("required")}
    assert required == {"editor"}
    assert all("default" in each for name, each in ACTION["inputs"].items() if name not in required)


def outputs(file: Path) -> dict[str, str]:
    """What a step has told the others."""
    return dict(line.split("=", 1) for line in file.read_text(encoding="utf-8").splitlines())


@pytest.fixture
def places(project: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Run pytest as `gate places` does, in this process."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    monkeypatch.setenv("GITHUB_OUTPUT", str(project.path / "output"))
    return lambda *options: project.pytester.runpytest_inprocess("-p", "gate_places", "-p", "no:randomly", *options)


def test_arguments_say_where_the_store_is(project: Project, places: Callable[..., pytest.RunResult]) -> None:
    (project.path / "pytest.ini").write_text(
        f"[pytest]\npitfalls_store = ../{project.path.name}/kept*\n", encoding="utf-8"
    )
    options = ("--pitfalls-editor=rome", "--pitfalls-editor=memit", "--pitfalls-model=a,b\nc")
    assert places(*options, "--pitfalls-store=its own").ret == 0
    given = outputs(project.path / "output")
    assert given["store"] == str(project.path / "its own")
    assert re.fullmatch("[0-9a-f]{12}", given["asked"]), "a key of the cache has no comma and no line end"
    (project.path / "output").unlink()
    assert places("--pitfalls-editor=rome").ret == 0
    assert outputs(project.path / "output")["store"] == str(project.path / "kept[*]"), "a pattern, without '..'"
    assert outputs(project.path / "output")["asked"] != given["asked"]


def test_a_store_that_would_be_two_outputs(project: Project, places: Callable[..., pytest.RunResult]) -> None:
    refused = places("--pitfalls-editor=rome", "--pitfalls-store=x\nasked=y")
    assert refused.ret == 4
    refused.stderr.fnmatch_lines(["ERROR: --pitfalls-store: * has several lines"])
    assert not (project.path / "output").exists()


def test_what_was_computed_is_kept_when_the_gate_fails() -> None:
    (save,) = [step for step in STEPS if "cache/save" in step.get("uses", "")]
    (restore,) = [step for step in STEPS if "cache/restore" in step.get("uses", "")]
    (places,) = [step for step in STEPS if step.get("id") == "places"]
    assert STEPS.index(places) < STEPS.index(restore) < STEPS.index(save)
    assert save["if"].startswith("always()")
    assert "${{ steps.places.outputs.store }}" in save["with"]["path"].splitlines()
    assert save["with"]["path"] == restore["with"]["path"]
    assert save["with"]["key"] == restore["with"]["key"]


def test_the_page_shows_every_input() -> None:
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    section = page[page.index("## One step") : page.index("## A GitHub workflow")]
    rows = re.findall(r"(?m)^\| `([\w-]+)` \|", section)
    assert rows == list(ACTION["inputs"])
    (block,) = re.findall(r"```yml\n(.*?)```", section, re.S)
    steps = yaml.safe_load(block)["jobs"]["pitfalls"]["steps"]
    (given,) = [step["with"] for step in steps if step["uses"].startswith("pytest-editpitfalls/pytest-editpitfalls@")]
    assert set(given) < set(ACTION["inputs"])
