"""What these rooms may import: nothing heavy, and nothing that they do not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "pytest", "_pytest", "scipy", "numpy", "rich"}


@pytest.mark.parametrize(
    ("modules", "also"),
    [
        ("cases.case, pitfalls, verdicts.thresholds, suites.discovery, suites.limit, suites.suite", set()),
        ("metrics.metric, metrics.shared", {"pydantic"}),
        ("suites.readers.own_format, suites.readers.released_files", set()),
        (
            "results.records, results.build, results.aggregates, results.gates, results.writer, results.schema",
            set(),
        ),
    ],
)
def test_imports_stay_light(modules: str, also: set[str]) -> None:
    names = ", ".join(f"pytest_editpitfalls.{name.strip()}" for name in modules.split(","))
    code = f"import sys, {names}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not (HEAVY | also) & set(loaded)
