"""docs/api.md names what can be imported, and that is what can be."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `([\w.]+)` \|[^|]*\|([^|]*)\|$", PAGE, re.M))


@pytest.mark.parametrize("module", ROWS)
def test_the_page_lists_what_a_module_exports(module: str) -> None:
    listed = set(re.findall(r"`(\w+)`", ROWS[module]))
    loaded = importlib.import_module(module)
    assert all(hasattr(loaded, name) for name in listed)
    assert listed == set(getattr(loaded, "__all__", listed))


def test_importing_them_loads_no_torch() -> None:
    code = f"import sys, {', '.join(ROWS)}; print({{'torch', 'transformers', 'pytest'}} & set(sys.modules))"
    assert len(ROWS) == 6
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_tests_and_benchmarks_use_the_public_modules_where_they_suffice() -> None:
    root = Path(__file__).resolve().parents[2]
    public = {name for names in ROWS.values() for name in re.findall(r"`(\w+)`", names)}
    private = re.compile(
        r"from pytest_editpitfalls\.(?:pitfalls\._\w+|suites\.suite|cases\.\w+) import ([\w, ]+)$", re.M
    )
    for folder in ("benchmarks", "examples", "docs"):
        for file in (root / folder).rglob("*.py"):
            for names in private.findall(file.read_text(encoding="utf-8")):
                assert not public & set(names.split(", ")), f"{file}: {names}"
