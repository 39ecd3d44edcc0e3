"""A release: sdist and wheel are built, whole, accepted by the check of PyPI, and work where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LEFT_OUT = {"__pycache__", "extract"}
"""Folders that no wheel has: suites/facts/extract makes the tables, and needs the packages that they are made of."""


def run(*command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "GITHUB_"))}
    return subprocess.run(
        command,
        cwd=folder,
        env={**kept, "COLUMNS": "100", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="built with hatchling (extra: test)")
    out = tmp_path_factory.mktemp("sdist")
    code = "import sys; from hatchling.build import build_sdist; build_sdist(sys.argv[1])"
    done = run(sys.executable, "-c", code, str(out), folder=ROOT)
    assert done.returncode == 0, done.stdout
    (made,) = out.glob("*.tar.gz")
    return made


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of what the source distribution holds, as PyPI's users would."""
    out = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(out, filter="data")
    code = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    done = run(sys.executable, "-c", code, str(out), folder=out / sdist.name.removesuffix(".tar.gz"))
    assert done.returncode == 0, done.stdout
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in a folder of its own; dependencies are those of this environment, nothing is fetched."""
    target = tmp_path_factory.mktemp("installed")
    options = ("--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check")
    done = run(sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(wheel), folder=target)
    assert done.returncode == 0, done.stdout
    return target


def files(folder: Path) -> set[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if not LEFT_OUT & set(path.parts) and path.name != "answers.jsonl"}


def test_the_wheel_holds_all_that_the_source_tree_has(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    code = {f"pytest_editpitfalls/{name}" for name in files(ROOT / "src" / "pytest_editpitfalls")}
    data = {f"pytest_editpitfalls/_suites/{name}" for name in files(ROOT / "suites")}
    assert len(code) > 300
    assert len(data) > 60
    assert (code | data) - names == set()
    others = {name for name in names - code - data if ".dist-info/" not in name}
    assert others == set()
    for licence in ("LICENSE", "NOTICE"):
        assert any(name.endswith(f".dist-info/licenses/{licence}") for name in names)


def test_the_source_distribution_has_what_ci_needs(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in (
        ".ci/run",
        "ARCHITECTURE.md",
        "mkdocs.yml",
        "action.yml",
        "constraints.txt",
        "docs/index.md",
        "tests/conftest.py",
    ):
        assert needed in names


def test_what_pypi_would_show(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode("utf-8"))
    assert metadata["Name"] == "pytest-editpitfalls"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    for field in ("Summary", "Keywords", "Author", "Requires-Python"):
        assert metadata[field], field
    urls = dict(entry.split(", ") for entry in metadata.get_all("Project-URL"))
    assert set(urls) == {"Homepage", "Documentation", "Changelog", "Issues", "Source"}
    assert all(url.startswith("https://") for url in urls.values())
    assert "Framework :: Pytest" in metadata.get_all("Classifier")


def test_pypi_would_take_them(sdist: Path, wheel: Path) -> None:
    pytest.importorskip("twine", reason="checked with twine (extra: test)")
    done = run(sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel), folder=ROOT)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2


def test_the_installed_wheel_works(installed: Path, tmp_path: Path) -> None:
    """Its command, its plugin, and the suites that it brings."""
    mine = {"PYTHONPATH": str(installed)}
    where = run(sys.executable, "-c", "import pytest_editpitfalls as p; print(p.__file__)", folder=tmp_path, **mine)
    assert where.stdout.startswith(str(installed)), where.stdout
    (script,) = [path for path in (installed / "bin").iterdir() if path.name.startswith("editpitfalls")]
    told = run(sys.executable, str(script), "--help", folder=tmp_path, **mine)
    assert told.returncode == 0
    assert "Find out what a knowledge edit breaks" in told.stdout
    helped = run(sys.executable, "-m", "pytest", "--help", folder=tmp_path, **mine)
    assert "--pitfalls-editor" in helped.stdout
    options = ("-p", "no:randomly", "--editor=rome", "--pitfalls-limit=1", "--collect-only", "-q")
    collected = run(sys.executable, "-m", "pytest", *options, folder=tmp_path, **mine)
    assert collected.returncode == 0, collected.stdout
    assert collected.stdout.count("::test_") == 5


def test_a_release_is_published_without_a_password() -> None:
    """Only the job that publishes may identify itself, and nothing is published that CI has not passed."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML reads "on" as true
    jobs: dict[str, Any] = workflow["jobs"]
    assert jobs["checks"] == {"uses": "./.github/workflows/ci.yml"}
    assert jobs["publish"]["needs"] == ["checks", "build"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["publish"]["environment"] == "pypi"
    assert [name for name, job in jobs.items() if "permissions" in job] == ["publish"]
    text = (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    assert "secrets." not in text
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert "workflow_call" in ci[True]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What the release script reads, with programs beside it that only say that they were called."""
    for name in ("pyproject.toml", "CITATION.cff", ".ci/build-release"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    version = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"]
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {version} (2026-12-01)\n\nFirst.\n", encoding="utf-8")
    (tmp_path / "bin").mkdir()
    for tool in ("uv", "twine"):
        program = tmp_path / "bin" / tool
        program.write_text(f'#!/bin/sh\necho "{tool} $*"\n', encoding="utf-8")
        program.chmod(0o755)
    return tmp_path


def release(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(tree / "bin"), os.environ["PATH"]])
    return run("bash", ".ci/build-release", *arguments, folder=tree, PATH=path)


@pytest.mark.skipif(not shutil.which("bash"), reason="a script for bash")
def test_a_release_is_built_and_checked(tree: Path) -> None:
    version = yaml.safe_load((tree / "CITATION.cff").read_text(encoding="utf-8"))["version"]
    done = release(tree, f"v{version}")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines() == ["uv build --out-dir dist", "twine check --strict dist/*.whl dist/*.tar.gz"]


@pytest.mark.skipif(not shutil.which("bash"), reason="a script for bash")
@pytest.mark.parametrize(
    ("file", "old", "new", "tag", "message"),
    [
        ("", "", "", "v9.9.9", "the tag says 9.9.9, pyproject.toml"),
        ("", "", "", "0.1.0", "a tag begins with v: v0.1.0"),
        ("CITATION.cff", "\nversion: ", "\nversion: 7", "", "CITATION.cff has another version than"),
        ("CHANGELOG.md", "(2026-12-01)", "(unreleased)", "", "CHANGELOG.md still says"),
        ("CHANGELOG.md", "# Changelog\n\n## ", "# Changelog\n\n## 7", "", "CHANGELOG.md begins with '## 7"),
    ],
)
def test_versions_that_disagree_are_not_released(
    tree: Path, file: str, old: str, new: str, tag: str, message: str
) -> None:
    version = yaml.safe_load((tree / "CITATION.cff").read_text(encoding="utf-8"))["version"]
    if file:
        text = (tree / file).read_text(encoding="utf-8")
        assert text.count(old) == 1
        (tree / file).write_text(text.replace(old, new), encoding="utf-8")
    done = release(tree, tag or f"v{version}")
    assert done.returncode == 1
    assert message in done.stdout
    assert "uv build" not in done.stdout
