"""The wheel holds what the program needs at run time: the suites, the presets, the marker of typing."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pytest_editpitfalls.engine.editors.presets import presets_table
from pytest_editpitfalls.engine.editors.shipped import package_of, shipped_names
from pytest_editpitfalls.suites.discovery import shipped_suites

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_is_complete(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the wheel is built with hatchling (extra: test)")
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for suite in shipped_suites():
            packed = archive.read(f"pytest_editpitfalls/_suites/{suite}.jsonl")
            assert packed == (ROOT / "suites" / f"{suite}.jsonl").read_bytes()
    expected = {f"_suites/{suite}{suffix}" for suite in shipped_suites() for suffix in (".jsonl", ".py", ".toml")}
    expected |= {"_suites/relations.toml", "py.typed", "plugin.py"}
    assert {f"pytest_editpitfalls/{name}" for name in expected} <= names
    with_presets = {editor for editor in shipped_names() if any(row.editor == editor for row in presets_table())}
    assert with_presets >= {"rome", "ft-l"}
    for editor in with_presets:
        assert f"{package_of(editor).replace('.', '/')}/presets.toml" in names
    assert any(name.endswith("/irrelevant_prompts.txt") for name in names)
    assert not [name for name in names if "__pycache__" in name]
