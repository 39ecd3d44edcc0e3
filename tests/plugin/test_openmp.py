"""Every process that runs the engine tells OpenMP to spin briefly, before torch is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_editpitfalls.openmp import spin_briefly

ROOT = Path(__file__).parents[2]
UNSET = {name: value for name, value in os.environ.items() if name not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}}


@pytest.mark.parametrize(
    ("environment", "after"),
    [
        ({}, {"GOMP_SPINCOUNT": "1000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_what_the_user_has_set_stays(environment: dict[str, str], after: dict[str, str]) -> None:
    spin_briefly(environment)
    assert environment == after


@pytest.mark.parametrize("module", ["pytest_editpitfalls.engine.tokens", "benchmarks.machine"])
def test_it_is_set_before_torch_is_imported(module: str) -> None:
    spy = (
        "import os, sys\n"
        "class Spy:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            print('torch', os.environ.get('GOMP_SPINCOUNT'))\n"
        "            sys.exit()\n"
        "sys.meta_path.insert(0, Spy())\n"
        f"import {module}\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", spy], env=UNSET, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if not shown.stdout:  # imported without torch: whatever imports it later finds the variable
        seen = f"import os, {module}; print('torch', os.environ.get('GOMP_SPINCOUNT'))"
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
def test_a_conftest_that_imports_torch_is_late(
    tmp_path: Path, arguments: tuple[str, ...], ini: str, value: str
) -> None:
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{ini}\n", encoding="utf-8")
    (tmp_path / "conftest.py").write_text(
        "import os\nopen('seen', 'w').write(str(os.environ.get('GOMP_SPINCOUNT')))\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--pitfalls-suite=reverse", *arguments]
    subprocess.run(command, cwd=tmp_path, env=UNSET, capture_output=True, check=False)
    assert (tmp_path / "seen").read_text(encoding="utf-8") == value
