"""Differences of a run from a base, for the table of `editpitfalls compare`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from comparison_samples import metric_runs
from report_samples import KINDS, results

from pytest_editpitfalls.cli.compare import _cells
from pytest_editpitfalls.comparison.baseline import Baseline
from pytest_editpitfalls.comparison.differences import Difference, differences
from pytest_editpitfalls.comparison.pairing import compare
from pytest_editpitfalls.reports.view.kinds import is_better
from pytest_editpitfalls.results import RunResults


def made(better: float = 0.0) -> RunResults:
    run = results(40, suites=["reverse", "easy"], editors=["rome"], better=better)
    for case in run.cases:
        case.digest = f"{case.source_index:016x}"
    return run


def found(base: RunResults, now: RunResults) -> dict[tuple[str, str], Difference]:
    rows = differences(compare(Baseline.of(base), now), KINDS)  # type: ignore[arg-type]
    return {(row.suite, row.metric): row for row in rows}


def test_better_and_worse_follow_the_direction_of_the_metric() -> None:
    worse = found(made(), made(better=-0.5))
    better = found(made(better=-0.5), made())
    for key in (("reverse", "cs_exp"), ("easy", "ir")):  # higher is better, lower is better
        assert worse[key].better is False
        assert better[key].better is True
        assert (worse[key].lost, worse[key].won) == (better[key].won, better[key].lost)
        assert worse[key].change == pytest.approx(-better[key].change)
    assert worse["reverse", "cs_exp"].change < 0 < worse["easy", "ir"].change


def test_figures_are_means_over_the_pairs_and_the_interval_holds_the_change() -> None:
    base, now = made(), made(better=-0.05)
    for (suite, metric), row in found(base, now).items():
        for run, mean in ((base, row.base), (now, row.now)):
            values = [case.metrics[metric] for case in run.cases if case.suite == suite]
            known = [value for value in values if value is not None]
            assert mean == pytest.approx(sum(known) / len(known))
        assert row.change == pytest.approx(row.now - row.base)
        assert row.low is None or row.low <= row.change + 1e-12
        assert row.high is None or row.change <= row.high + 1e-12
        if row.better is not None and row.low is not None and row.high is not None:
            assert row.low * row.high > 0


def test_what_is_no_result_does_not_count() -> None:
    base, now = made(), made()
    now.cases[0].outcome = "error"
    now.cases[1].metrics["cs_exp"] = None
    rows = found(base, now)
    assert rows["reverse", "cs_exp"].n == 38
    assert rows["reverse", "es"].n == 39
    assert (rows["reverse", "es"].change, rows["reverse", "es"].low, rows["reverse", "es"].high) == (
        0.0,
        0.0,
        0.0,
    )


def test_what_has_no_direction_gets_neither_better_nor_worse() -> None:
    comparison = metric_runs("related_kept", [0.9] * 40, [0.1] * 40, suite="same_subject")
    (row,) = [row for row in differences(comparison, {"same_subject": "same_subject"}) if row.metric == "related_kept"]
    assert row.change == pytest.approx(-0.8)
    assert row.high is not None
    assert row.high < 0.0, "it certainly fell"
    assert row.better is None
    *_, words = _cells(row)
    assert words == "0 higher, 40 lower of 40"
    *_, words = _cells(replace(row, has_direction=True))
    assert words == "0 worse, 40 better of 40"
    assert (is_better("others_kept", -0.1), is_better("related_kept", -0.1)) == (False, None)
