"""Every process that runs the engine tells OpenMP to spin briefly, before torch is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_editpitfalls.openmp import spin_briefly

ROOT = Path(__file__).parents[2]
OURS = {"GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY", "OMP_WAIT_POLICY"}
UNSET = {name: value for name, value in os.environ.items() if name not in OURS}
GNU, INTEL = {"GOMP_SPINCOUNT": "1000"}, {"KMP_BLOCKTIME": "1"}


@pytest.mark.parametrize(
    ("environment", "after"),
    [
        ({}, {**GNU, **INTEL}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7", **INTEL}),
        ({"KMP_BLOCKTIME": "infinite"}, {"KMP_BLOCKTIME": "infinite", **GNU}),
        ({"KMP_LIBRARY": "turnaround"}, {"KMP_LIBRARY": "turnaround", **GNU}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_what_the_user_has_set_stays(environment: dict[str, str], after: dict[str, str]) -> None:
    assert spin_briefly(environment, imported=())
    assert environment == after


def test_it_is_known_whether_it_was_in_time() -> None:
    environment: dict[str, str] = {}
    assert not spin_briefly(environment, imported=("torch",))
    assert environment == {**GNU, **INTEL}  # for the processes that this one starts
    assert spin_briefly(dict(environment), imported=("torch",))  # as one of those


@pytest.mark.parametrize(
    "statement",
    [
        "import pytest_editpitfalls.engine.tokens",
        "from pytest_editpitfalls.editors import Overlay",
        "import pytest_editpitfalls.cli.app",
        "import pytest_editpitfalls.execution.ray.actor",
        "import benchmarks.machine",
    ],
)
def test_it_is_set_before_torch_is_imported(statement: str) -> None:
    spy = (
        "import os, sys\n"
        "class Spy:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            print('torch', os.environ.get('GOMP_SPINCOUNT'))\n"
        "            sys.exit()\n"
        "sys.meta_path.insert(0, Spy())\n"
        f"{statement}\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", spy], env=UNSET, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if not shown.stdout:  # imported without torch: whatever imports it later finds the variable
        seen = f"import os; {statement}; print('torch', os.environ.get('GOMP_SPINCOUNT'))"
        shown = subprocess.run(
            [sys.executable, "-c", seen], env=UNSET, cwd=ROOT, capture_output=True, text=True, check=True
        )
    assert shown.stdout.strip() == "torch 1000"


@pytest.mark.parametrize(
    ("arguments", "ini", "value"),
    [
        (("--editor=rome",), "", "1000"),
        (("--pitfalls-editor", "rome"), "", "1000"),
        ((), "addopts = --pitfalls-editor=rome", "1000"),
        ((), "addopts = --editor=rome", "1000"),
        ((), "", "None"),
    ],
)
def test_a_conftest_that_imports_torch_is_late_enough(
    tmp_path: Path, arguments: tuple[str, ...], ini: str, value: str
) -> None:
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{ini}\n", encoding="utf-8")
    (tmp_path / "conftest.py").write_text(
        "import os\nopen('seen', 'w').write(str(os.environ.get('GOMP_SPINCOUNT')))\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--pitfalls-suite=reverse", *arguments]
    subprocess.run(command, cwd=tmp_path, env=UNSET, capture_output=True, check=False)
    assert (tmp_path / "seen").read_text(encoding="utf-8") == value


def test_a_plugin_that_imports_torch_first_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (tmp_path / "early.py").write_text(
        "import sys, types\n"
        "sys.modules['torch'] = types.SimpleNamespace(get_num_threads=lambda: 8)\n"
        "import pytest_editpitfalls.cores as cores\n"
        "cores.usable_cores.__code__ = (lambda root=None: Cores(2, 'two cores')).__code__\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-p", "early", "--editor=rome", "--pitfalls-suite=reverse"]
    shown = {}
    for workers in ("0", "1"):
        done = subprocess.run(
            [*command, "--collect-only", "--pitfalls-limit=1", "-n", workers],
            cwd=tmp_path,
            env={**UNSET, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
            capture_output=True,
            text=True,
            check=False,
        )
        shown[workers] = done.stdout + done.stderr
    assert shown["0"].count("set GOMP_SPINCOUNT=1000 before pytest starts") == 1, shown["0"]
    assert "set GOMP_SPINCOUNT=1000" not in shown["1"]  # workers are processes of their own, and inherit it
