"""Anybody's own kind of pitfall: one file and a suite, through everything that a kind that ships goes through."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "sample_pitfall_package"
MODULE = SAMPLE / "bystanders" / "__init__.py"
PAGE = ROOT / "docs" / "write-a-pitfall.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The sample package, installed into an empty directory."""
    target = tmp_path_factory.mktemp("site")
    options = ("--quiet", "--no-index", "--no-build-isolation", "--no-deps", "--disable-pip-version-check")
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(SAMPLE)], check=True)
    return target


@pytest.fixture
def suite(project):
    """The sample suite in the project's directory, and how it is named."""
    shutil.copytree(SAMPLE / "suite", project.path / "suite")
    return "--pitfalls-suite=suite/nearby.toml"


@pytest.fixture
def by_hook(project):
    """The kind brought by the project's conftest.py."""
    shutil.copytree(SAMPLE / "bystanders", project.path / "bystanders")
    hook = blocks("python")[1]
    assert "pytest_pitfalls_kinds" in hook
    project.engine(f"sys.path.insert(0, {str(project.path)!r})\n{hook}")
    return project


@pytest.fixture(autouse=True)
def forgotten():
    """A kind that one run brought is not known in the next: they share this process."""
    from pytest_editpitfalls.pitfalls import PITFALLS

    yield
    PITFALLS.forget_added()
    sys.modules.pop("bystanders", None)


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.S | re.M)


def test_the_page_shows_the_package_that_is_tested():
    assert len(MODULE.read_text(encoding="utf-8").splitlines()) <= 80
    assert MODULE.read_text(encoding="utf-8") == blocks("python")[0]
    assert (SAMPLE / "suite" / "nearby.toml").read_text(encoding="utf-8") == blocks("toml")[0]
    assert (SAMPLE / "pyproject.toml").read_text(encoding="utf-8") == blocks("toml")[1]
    first = (SAMPLE / "suite" / "nearby.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert first == blocks("json")[0].strip()


def command(folder, *arguments, path=None):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    for name in ("PYTHONPATH", "CI", "GITHUB_STEP_SUMMARY"):
        environment.pop(name, None)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_an_installed_kind_is_collected_judged_reported_and_gated(installed, tmp_path):
    """With a real engine on a tiny model, in two workers: verdict, summary, HTML, Markdown, LaTeX, baseline, gate."""
    from tests.tiny_models import save_tiny

    model = save_tiny(tmp_path / "tiny-llama", "llama")
    shutil.copytree(SAMPLE / "suite", tmp_path / "suite")
    asked = [
        "--pitfalls-suite=suite/nearby.toml",
        "--editor=ft",
        f"--model={model}",
        "-p",
        "no:cacheprovider",
    ]
    asked += ["--pitfalls-set=ft.layers=[1]", "--pitfalls-set=ft.num_steps=3"]
    written = ["--pitfalls-json=run.json", "--pitfalls-html=run.html", "--pitfalls-markdown=run.md"]
    first = command(
        tmp_path, "pytest", *asked, *written, "-n2", "--pitfalls-save=main", "--pitfalls-gate=nearby.unharmed >= 0",
        path=installed,
    )  # fmt: skip
    assert first.returncode in (0, 1), first.stdout + first.stderr
    assert "Bystanders" in first.stdout
    assert "Unharmed" in first.stdout
    assert "gate nearby.unharmed >= 0" in first.stdout
    document = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert [suite["kind"] for suite in document["run"]["suites"]] == ["bystanders"]
    assert document["run"]["suites"][0]["thresholds"] == ["es >= 1", "unharmed >= 0.5"]
    assert len(document["cases"]) == 4
    for case in document["cases"]:
        means = {
            (probe["fact"], probe["state"]): sum(probe["probabilities"]) / len(probe["probabilities"])
            for probe in case["probes"]
        }
        near = ["bystander:0", "bystander:1"]
        assert list(case["facts"]) == ["new", "true", *near]
        assert {case["facts"][name]["role"] for name in near} == {"a fact that nobody edited"}
        expected = sum(means[name, "1"] >= 0.9 * means[name, "0"] for name in near) / 2
        assert case["metrics"]["unharmed"] == expected
        assert case["outcome"] == ("xfailed" if expected < 0.5 or case["metrics"]["es"] < 1 else "passed")
    italy = {"subject": "Italy", "relation": "capital", "label": "capital", "object": "Rome"}
    assert italy.items() <= document["cases"][0]["facts"]["bystander:0"].items()
    for file, words in {"run.html": "a fact that nobody edited", "run.md": "Unharmed"}.items():
        assert words in (tmp_path / file).read_text(encoding="utf-8"), file
    latex = command(tmp_path, "pytest_editpitfalls.cli.app", "table", "--latex", "run.json", path=installed)
    assert "Unharmed" in latex.stdout, latex.stdout + latex.stderr

    again = command(
        tmp_path, "pytest", *asked, "--pitfalls-baseline=main", "--pitfalls-fail-on=nearby.unharmed:10pp",
        path=installed,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Against the baseline main: 4 cases on both sides" in again.stdout
    assert "gate nearby.unharmed:10pp" in again.stdout

    shown = command(tmp_path, "pytest_editpitfalls.cli.app", "report", "run.json", "--html", "late.html")
    assert shown.returncode == 0, "a report of a kind that is not installed: " + shown.stdout + shown.stderr
    assert "Unharmed" in (tmp_path / "late.html").read_text(encoding="utf-8").title()


def test_a_kind_of_a_conftest(by_hook, suite):
    result = by_hook.run(suite, "--pitfalls-json=out.json")
    document = json.loads((by_hook.path / "out.json").read_text(encoding="utf-8"))
    assert {case["suite"] for case in document["cases"]} == {"nearby"}, result.outlines
    assert "unharmed" in document["cases"][0]["metrics"]


def test_a_kind_named_by_the_suite(project, suite):
    shutil.copytree(SAMPLE / "bystanders", project.path / "bystanders")
    header = project.path / "suite" / "nearby.toml"
    header.write_text(header.read_text(encoding="utf-8").replace('"bystanders"', '"bystanders:Bystanders"'))
    result = project.run(suite, "--pitfalls-json=out.json")
    document = json.loads((project.path / "out.json").read_text(encoding="utf-8"))
    assert [each["kind"] for each in document["run"]["suites"]] == ["bystanders"], result.outlines


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("bystander", "*unknown kind of pitfall 'bystander'*"),
        ("no_such_module:Bystanders", "*cannot be imported*"),
        ("json:loads", "*is no pitfall but a function*"),
        ("pytest_editpitfalls.pitfalls:Pitfall", "*cannot be made*"),
    ],
)
def test_what_is_no_kind_is_said_before_anything_runs(project, suite, kind, message):
    header = project.path / "suite" / "nearby.toml"
    header.write_text(header.read_text(encoding="utf-8").replace('"bystanders"', f'"{kind}"'))
    result = project.run(suite)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert not project.calls("open")


def test_a_bystander_without_prompts_is_named(by_hook, suite):
    lines = by_hook.path / "suite" / "nearby.jsonl"
    lines.write_text(
        lines.read_text(encoding="utf-8").replace(
            '"bystanders": [{"relation": "capital', '"bystanders": [{"relation": "capitol', 1
        )
    )
    result = by_hook.run(suite)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*field bystanders.0.relation: relation 'capitol' has no prompts*"])
