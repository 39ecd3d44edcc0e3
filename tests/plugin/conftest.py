"""A project in a temporary directory whose runs use the fake engine."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# what cannot be imported twice, or slowly
import rich.table  # noqa: F401
import scipy.stats  # noqa: F401
from plugin_helpers import STORED, write_small

import pytest_editpitfalls

HERE = Path(__file__).parent
WITH_TORCH = ("engine", "cli/network_training.py", "__main__.py")


def _import_once(*, with_torch: bool) -> None:
    """Import the package's modules: those that import torch, or the others.

    pytester puts sys.modules back after each run. What no test has imported by then would be imported by each run anew:
    slowly, and with a second copy of what tests patch.
    """
    room = Path(pytest_editpitfalls.__file__).parent
    for path in sorted(room.rglob("*.py")):
        inside = path.relative_to(room)
        if any(inside.is_relative_to(each) for each in WITH_TORCH) is with_torch and path.name != "__main__.py":
            importlib.import_module(
                ".".join(["pytest_editpitfalls", *inside.with_suffix("").parts]).removesuffix(".__init__")
            )


_import_once(with_torch=False)

QUICK = ("-p", "no:hypothesispytest", "-p", "no:anyio", "-p", "no:randomly")


class Project:
    """What a user has: a directory, a conftest, and pytest run in it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.engine()

    def engine(self, extra: str = "", **settings: Any) -> None:
        """Write the conftest that installs the fake engine with these settings."""
        (self.path / "conftest.py").write_text(
            f"import sys\nsys.path.insert(0, {str(HERE)!r})\nimport fake_engine\n"
            f"fake_engine.install(**{settings!r})\n{extra}\n",
            encoding="utf-8",
        )

    def run(self, *args: str, editor: bool = True) -> pytest.RunResult:
        """Run pytest in this process (with ``-n`` its workers are processes of their own)."""
        options = ["--editor=rome", *args] if editor else list(args)
        if editor and not {"--pitfalls-replay", STORED} & set(args):
            options.append("--pitfalls-fresh")  # each run of a test computes, whatever an earlier one has stored
        options = [option for option in options if option != STORED]
        return self.pytester.runpytest_inprocess("-p", "no:cacheprovider", *QUICK, *options)

    def whole(self, suite: str, count: int) -> str:
        """Write a suite that has the cases that ``--pitfalls-limit=count`` keeps, and no others; return its option.

        A gate judges whole suites only.
        """
        return write_small(self.path, suite, count)

    def ids(self, *args: str) -> list[str]:
        """Return the node ids that a run collects."""
        result = self.run("--collect-only", "-q", *args)
        return [line for line in result.outlines if "::" in line]

    def results(self, *args: str) -> dict[str, Any]:
        """Run with ``--pitfalls-json`` and return the document."""
        self.last = self.run("--pitfalls-json=out.json", *args)
        document: dict[str, Any] = json.loads((self.path / "out.json").read_text(encoding="utf-8"))
        return document

    def calls(self, kind: str) -> list[dict[str, Any]]:
        """Return the engine's calls of one kind ("open", "run")."""
        file = self.path / "calls.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return [call for call in map(json.loads, lines) if kind in call]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A user's project with the fake engine."""
    monkeypatch.setenv("COLUMNS", "200")
    for name in [*os.environ]:
        if name.startswith("PYTEST_XDIST") or name in {"PYTEST_ADDOPTS", "NO_COLOR", "FORCE_COLOR", "CI"}:
            monkeypatch.delenv(name)
    return Project(pytester)


@dataclass(frozen=True)
class Done:
    """What a run came to, by the names of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def _torch_once() -> None:
    import transformers.models.llama.modeling_llama  # noqa: F401

    _import_once(with_torch=True)


@pytest.fixture
def run_here(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, _torch_once: None) -> Callable[..., Done]:
    """Run pytest with the real engine in a folder, in this process: a process of its own would import torch first."""
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("CI", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)

    def run(folder: Path, *arguments: str) -> Done:
        monkeypatch.chdir(folder)
        done = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:randomly", *arguments)
        return Done(int(done.ret), done.stdout.str(), done.stderr.str())

    return run


@pytest.fixture
def shared_data() -> Path:
    """The benchmark's published files."""
    shared = Path(os.environ.get("EDITPITFALLS_SHARED", HERE.parents[2] / "shared")).resolve()
    folder = shared / "data" / "pitfalls"
    if not folder.is_dir():
        pytest.skip("the published files are not here (set EDITPITFALLS_SHARED)")
    return folder


@pytest.fixture
def embedded_model() -> None:
    """The embedded model from the user's cache, or fetched into it."""
    from pytest_editpitfalls.engine.models.cache import cache_directory
    from pytest_editpitfalls.engine.models.embedded import embedded_gguf
    from pytest_editpitfalls.errors import UsageError

    try:
        embedded_gguf(cache_directory())
    except UsageError as error:
        pytest.skip(f"no embedded model: {error}")
