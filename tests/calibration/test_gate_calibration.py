"""The simulation itself: populations have the drop that they say, figures come back, a broken gate would be seen."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from comparison_samples import metric_runs

from pytest_editpitfalls.calibration import gates as calibration
from pytest_editpitfalls.calibration.gates import (
    CalibrationRecord,
    calibrate_stored,
    calibrate_synthetic,
    simulate,
    simulate_family,
)
from pytest_editpitfalls.calibration.populations import (
    SHAPES,
    Population,
    flips,
    lifts,
    pools,
    shifted,
    stepped,
    stored,
    uneven,
)
from pytest_editpitfalls.calibration.runs import Rerun, simulate_runs
from pytest_editpitfalls.comparison.pairing import Comparison
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.options.config import Inconclusive
from pytest_editpitfalls.statistics import drops

POPULATIONS = [
    flips(40, noise=0.1),
    flips(20, 3, noise=0.1, correlation=0.5),
    uneven(80, noise=0.1, correlation=0.7),
    uneven(80, noise=0.1, correlation=0.7, is_binary=False),
    uneven(80, noise=0.1, correlation=0.7, size_matters=True),
    lifts(60, noise=0.1),
    stepped(60, step=0.25),
    *(shifted(60, 2, shape=shape, correlation=0.3) for shape in SHAPES),
]


@pytest.mark.parametrize("population", POPULATIONS, ids=lambda population: population.name)
def test_a_population_has_the_drop_that_it_is_asked_for(population: Population) -> None:
    generator = np.random.default_rng(0)
    values = []
    for _ in range(1500):
        differences, labels = population.sample(generator, 0.1)
        assert len(set(labels)) == population.clusters
        values += differences
    assert np.mean(values) == pytest.approx(0.1, abs=0.01)
    if population.is_binary:
        assert set(values) <= {-1.0, 0.0, 1.0}


def two_runs(n: int = 60) -> Comparison:
    generator = np.random.default_rng(3)
    there = (generator.random(n) < 0.8).astype(float)
    here = np.where(generator.random(n) < 0.2, 0.0, there)
    subjects = [f"s{place // 2}" for place in range(n)]
    return metric_runs("cs_exp", there.tolist(), here.tolist(), subject=subjects)


def test_stored_runs_become_populations() -> None:
    comparison = two_runs()
    (pool,) = pools(comparison).values()
    assert (len(pool.members), pool.is_binary, pool.reach) == (30, True, 1.0)
    own, mixed = stored(comparison)
    assert own.own_drop == pytest.approx(pool.drop)
    generator = np.random.default_rng(0)
    assert np.mean([np.mean(own.sample(generator, 0.0)[0]) for _ in range(2000)]) == pytest.approx(pool.drop, abs=0.01)
    for drop in (0.0, 0.1):
        means = [np.mean(mixed.sample(generator, drop)[0]) for _ in range(2000)]
        assert np.mean(means) == pytest.approx(drop, abs=0.01)
    assert next(stored(comparison, 7)).clusters == 7


def test_runs_without_a_difference_calibrate_nothing() -> None:
    with pytest.raises(UsageError, match="no metric differs"):
        calibrate_stored(metric_runs("cs_exp", [1.0], [1.0]))


def test_stored_runs_are_calibrated_alone_and_together() -> None:
    seen: list[CalibrationRecord] = []
    records = calibrate_stored(two_runs(), replications=40, clusters=(40,), progress=seen.append)
    assert seen == records
    assert [record.gates for record in records] == [1, 1, 1, 1]
    assert records[-1].population == "stored, all metrics"
    assert records[0].found is None
    assert records[1].found is not None
    json.dumps([record.model_dump(mode="json") for record in records], allow_nan=False)
    assert records == calibrate_stored(two_runs(), replications=40, clusters=(40,))


@pytest.mark.parametrize(
    ("population", "margin"),
    [
        (flips(58, noise=0.05), 0.02),
        (flips(26, 2, noise=0.05, correlation=1.0), 0.0),
        (shifted(58, shape="long tail of gains"), 0.02),
        (uneven(58, noise=0.05, correlation=1.0), 0.02),
        (uneven(58, noise=0.05, correlation=1.0, size_matters=True), 0.02),
        (lifts(58, noise=0.05), 0.02),
    ],
    ids=["flips", "clusters", "skewed", "uneven", "size matters", "lift"],
)
def test_the_promises_hold(population: Population, margin: float) -> None:
    record = simulate(population, margin, 300, seed=5)
    assert record.false_fails <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5
    assert record.found is not None
    assert record.found >= 0.8 - 3 * (0.16 / 150) ** 0.5
    assert record.holds


def test_a_test_that_is_too_eager_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drops.PairedDrop, "p_value", lambda self, margin: 0.001 if self.drop > margin else 1.0)
    record = simulate(flips(58, noise=0.05), 0.02, 100, seed=0)
    assert record.false_fails > 0.2
    assert not record.holds


def test_a_size_that_is_too_small_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drops.PairedDrop, "detectable", lambda self, margin, level=0.05: margin + 0.01)
    record = simulate(flips(58, noise=0.05), 0.02, 100, seed=0)
    assert record.found is not None
    assert record.found < 0.3
    assert not record.holds


def test_a_family_without_holm_would_fail_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = calibration._correlated(58, 15)
    kept = simulate_family(draw, [0.02] * 15, 58, 60, seed=1)
    monkeypatch.setattr(calibration, "holm", list)
    assert simulate_family(draw, [0.02] * 15, 58, 60, seed=1).false_fails > 0.12 > kept.false_fails


@pytest.mark.parametrize(
    ("noise", "meaning", "low", "high"),
    [
        (0.0, "cases", 0.0, 0.0),
        (0.05, "cases", 0.6, 1.0),  # as many flips as this are more than the rule for single cases stands
        (0.05, "excess", 0.0, 0.12),
    ],
)
def test_reruns_without_a_change(noise: float, meaning: Inconclusive, low: float, high: float) -> None:
    record = simulate_runs(Rerun(flips(40, noise=noise)), meaning, 60, seed=0)
    assert low <= record.run_fails <= high
    assert record.undecided + record.gate_fails >= 0.9  # the others got better, as it seems
    assert record.cases == 40


def test_edits_that_no_longer_take_fail_the_run() -> None:
    record = simulate_runs(Rerun(flips(8, noise=0.0), untaken=0.95), "excess", 40, seed=0)
    assert record.run_fails == 1.0


def test_the_synthetic_list_runs() -> None:
    records = list(itertools.islice(calibration._synthetic(4, 0), 3))
    assert [record.margin for record in records] == [0.0, 0.02, 0.05]
    with pytest.raises(RuntimeError, match="enough"):
        calibrate_synthetic(replications=4, progress=lambda record: (_ for _ in ()).throw(RuntimeError("enough")))
