"""What this room may import, and the figures of its docs page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    "modules",
    [
        "comparison.baseline, comparison.pairing, comparison.relative_gates, comparison.noise, comparison.differences",
        "calibration.gates, calibration.populations",
        "statistics.drops, statistics.clusters, statistics.paired_binary",
    ],
)
def test_imports_stay_light(modules: str) -> None:
    names = ", ".join(f"pytest_editpitfalls.{name.strip()}" for name in modules.split(","))
    code = f"import sys, {names}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "pytest", "_pytest", "scipy", "numpy", "rich"} & set(loaded)


def test_the_calibration_in_the_docs_is_what_was_computed() -> None:
    from pytest_editpitfalls.calibration.gates import CalibrationRecord

    lines = (DOCS / "images" / "calibration.jsonl").read_text("utf-8").splitlines()
    records = [CalibrationRecord.model_validate(json.loads(line)) for line in lines]
    usual = [record for record in records if not any(each in record.population for each in ("4 % gain", "large ones"))]
    assert all(record.holds for record in usual)
    text = (DOCS / "gates.md").read_text("utf-8")
    over = sum(record.false_fails > 0.05 for record in usual)
    assert f"{len(usual) - over} of the {len(usual)} points lie at 5 % or below" in text
    found = [record.found for record in usual if record.found is not None]
    assert f"{sum(share >= 0.8 for share in found)} of {len(found)} points lie at 80 % or above" in text
    assert f"{sum(record.replications for record in records):,} in all" in text
    assert (DOCS / "images" / "calibration.svg").stat().st_size > 10_000


def test_the_reruns_in_the_docs_are_what_was_computed() -> None:
    from pytest_editpitfalls.calibration.runs import RunCalibrationRecord

    lines = (DOCS / "images" / "reruns.jsonl").read_text("utf-8").splitlines()
    records = [RunCalibrationRecord.model_validate(json.loads(line)) for line in lines]
    text = (DOCS / "gates.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    shown = [row for row in rows if len(row) == 4 and row[2].rstrip(" %").replace(".", "").isdigit()]
    simulated = {meaning: [each for each in records if each.inconclusive == meaning] for meaning in ("cases", "excess")}
    for place, found in enumerate(simulated.values(), start=2):
        for row, record in zip(shown, found, strict=True):
            assert float(row[place].rstrip(" %")) / 100 == pytest.approx(record.run_fails, abs=0.0051)
    assert all(record.holds for record in simulated["excess"])
