"""The released benchmark's layout: its formulas, written down again here, give our figures from the files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from report_samples import HOSTILE, results

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.reports.released_layout import export_released
from pytest_editpitfalls.results import RunResults

SHARED = {"reverse", "composite", "coverage", "easy", "hard"}


def prob(answer: dict[str, Any]) -> float:
    values = [*answer["generation"], answer["rewrite"]]
    return sum(values) / len(values)


def conflict(path: Path) -> dict[str, float]:
    """CS, CM, FFD and Succ as the released summary has them (zjunlp/PitfallsKnowledgeEditing, summarize.py)."""
    rows = json.loads(path.read_text())
    sums: dict[str, float] = {"CS": 0.0, "CM": 0.0}
    for row in rows:
        sums["CS"] += prob(row["CS_post"]) > prob(row["CS_pre"])
        before = prob(row["CM_pre"])
        sums["CM"] += max(-1.0, 1 - prob(row["CM_post"]) / before)
        if "fact_0" in row:
            sums["FFD"] = sums.get("FFD", 0.0) + 1 - prob(row["fact_2"]) / prob(row["fact_0"])
        if "S_pre" in row:
            sums["S"] = sums.get("S", 0.0) + (prob(row["S_post"]) > prob(row["S_pre"]))
    return {name: value / len(rows) for name, value in sums.items()}


def divergence(p: list[float], q: list[float]) -> float:
    """JS of the released summary: the batch mean of a vector divides by its length."""
    p, q = ([value / sum(each) for value in each] for each in (p, q))
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    sides = [sum(a * math.log(a / m) for a, m in zip(each, middle, strict=True)) / len(each) for each in (p, q)]
    return sum(sides) / 2


def rounds(path: Path, model: Path, key: str = "model") -> dict[str, float]:
    rows, base = json.loads(path.read_text()), json.loads(model.read_text())
    sums = dict.fromkeys(("Succ", "D", "IR", "FR"), 0.0)
    for place, row in enumerate(rows):
        first, second, before = row["edit1"], row["edit2"], base[place][key]
        for edit in (first, second):
            sums["Succ"] += 0.5 * (prob(edit["target_new"]) > prob(edit["target_true"]))
        old = [prob(other) for other in before["others"]]
        new = [prob(other) for other in second["others"]]
        lost = sum(a > b for a, b in zip(old, new, strict=True)) / len(new)
        sums["IR"] += lost
        sums["FR"] += lost > 0.5
        sums["D"] += divergence([prob(second["target_new"]), *new], [prob(before["target_new"]), *old])
    return {name: value / len(rows) for name, value in sums.items()}


def mean(run: RunResults, suite: str, editor: str, metric: str) -> float | None:
    (found,) = [each for each in run.aggregates if (each.suite, each.editor) == (suite, editor)]
    return found.metrics[metric].value


def test_the_released_formulas_give_our_figures(tmp_path: Path) -> None:
    run = results(30, editors=("rome", "memit", "memit+mle"))
    exported = export_released(run, tmp_path)
    assert not exported.left_out
    for editor in ("rome", "memit"):
        for mode, metric in (("explicit", "cs_exp"), ("implicit", "cs_imp")):
            for suite in ("reverse", "composite"):
                got = conflict(tmp_path / mode / "conflict_results" / f"{editor.upper()}_{suite}.json")
                assert got["CS"] == mean(run, suite, editor, metric)
                assert got["CM"] == pytest.approx(mean(run, suite, editor, "cm"), abs=1e-12)
        composite = conflict(tmp_path / "explicit/conflict_results" / f"{editor.upper()}_composite.json")
        assert composite["FFD"] == pytest.approx(mean(run, "composite", editor, "tfd_released"), abs=1e-12)
        coverage = conflict(tmp_path / "explicit/conflict_results" / f"{editor.upper()}_coverage.json")
        assert coverage["CS"] == mean(run, "coverage", editor, "cs_exp")
        assert coverage["S"] == mean(run, "coverage", editor, "succ_released")
    folder = tmp_path / "explicit/round_results"
    for suite in ("easy", "hard"):
        for editor, name, key in (
            ("rome", f"ROME_{suite}.json", "model"),
            ("memit", f"MEMIT_{suite}.json", "model"),
            ("memit+mle", f"MEMIT_{suite}_multi.json", "gptj"),
        ):
            got = rounds(folder / name, folder / f"{suite}_model.json", key)
            for field, metric in (("Succ", "succ"), ("D", "distortion_released"), ("IR", "ir"), ("FR", "fr")):
                assert got[field] == pytest.approx(mean(run, suite, editor, metric), abs=1e-12), (
                    suite,
                    editor,
                    field,
                )


def test_rows_have_the_layout_of_the_reference_figures(tmp_path: Path) -> None:
    export_released(results(2, editors=("rome",)), tmp_path)
    (row, _) = json.loads((tmp_path / "explicit/conflict_results/ROME_composite.json").read_text())
    facts = {"fact_0", "fact_1", "fact_2", "fact_o"}
    assert row.keys() == {"case", "CS_pre", "CS_post", "CM_pre", "CM_post"} | facts
    assert row["CS_pre"] == row["CM_post"]
    assert len(row["CM_pre"]["generation"]) == 10
    (row, _) = json.loads((tmp_path / "explicit/round_results/ROME_easy.json").read_text())
    assert row.keys() == {"case", "edit1", "edit2"}
    assert row["edit2"].keys() == {"target_new", "target_true", "others"}
    assert row["edit1"].keys() == {"target_new", "target_true"}


def test_cases_that_the_script_cannot_read_are_left_out_and_counted(tmp_path: Path) -> None:
    run = results(6, suites=["composite", "easy"], editors=["rome"])
    error, without, zero, unknown = run.cases[:4]
    error.outcome, error.metrics, error.probes = "error", {}, []
    without.probes = [probe for probe in without.probes if probe.fact != "tied"]
    for probe in zero.probes:
        if (probe.fact, probe.state) == ("old", "1"):
            probe.probabilities = [0.0] * 11
    next(probe for probe in unknown.probes if (probe.fact, probe.state) == ("old", "12")).probabilities[3] = None
    easy = next(case for case in run.cases if case.suite == "easy")
    easy.probes = [probe for probe in easy.probes if probe.fact != "other:0"]
    exported = export_released(run, tmp_path)
    rows = json.loads((tmp_path / "explicit/conflict_results/ROME_composite.json").read_text())
    assert [row["case"] for row in rows] == [4, 5]
    reasons = [reason for reason in exported.left_out if reason.startswith("explicit/conflict")]
    assert len(reasons) == 4
    assert sum(exported.left_out[reason] for reason in reasons) == 4
    for folder in ("ROME_easy", "easy_model"):
        rows = json.loads((tmp_path / f"explicit/round_results/{folder}.json").read_text())
        assert [row["case"] for row in rows] == [1, 2, 3, 4, 5]


def test_editors_with_other_cases_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    run = results(4, suites=["easy"])
    run.cases = [case for case in run.cases if (case.editor, case.source_index) != ("memit", 2)]
    with pytest.raises(UsageError, match="rome and memit have different cases"):
        export_released(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_several_models_get_a_directory_each(tmp_path: Path) -> None:
    export_released(results(2, suites=["reverse"], editors=["rome"], models=["m/1", "../m2"]), tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == 2
    assert all((tmp_path / "out" / name / "explicit").is_dir() for name in names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_hostile_editor_names_stay_in_the_directory(tmp_path: Path) -> None:
    exported = export_released(results(2, suites=["reverse"], editors=[f"../{HOSTILE}"]), tmp_path / "out")
    for path in exported.files:
        assert path.resolve().is_relative_to((tmp_path / "out").resolve())
        assert path.name.isprintable()
    assert any("add " in remark for remark in exported.remarks)


def test_nothing_to_export_is_an_error(tmp_path: Path) -> None:
    run = results(2, suites=["reverse"])
    for case in run.cases:
        case.metrics, case.probes = {}, []
    with pytest.raises(UsageError, match="no case that the released script could read"):
        export_released(run, tmp_path)
