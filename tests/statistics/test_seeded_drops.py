"""Gates where both sides ran under several seeds."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.pitfalls import METRICS
from pytest_editpitfalls.statistics.drops import PairedDrop
from pytest_editpitfalls.statistics.seeded_drops import SeededDrop


def metric(name: str) -> Metric:
    found = METRICS.get(name)
    assert found is not None
    return found


def drop(there: list[list[float]], here: list[list[float]], name: str = "cm") -> SeededDrop:
    return SeededDrop.of_seeds(
        metric(name), [(str(place), a, b) for place, (a, b) in enumerate(zip(there, here, strict=True))], "x"
    )


def test_seeds_that_agree_leave_everything_as_with_one_seed() -> None:
    generator = np.random.default_rng(1)
    there, here = generator.uniform(0, 1, (2, 60, 1))
    seeded = drop(there.repeat(3, axis=1).tolist(), here.repeat(3, axis=1).tolist())
    plain = PairedDrop.of(
        metric("cm"), [(str(n), a[0], b[0]) for n, (a, b) in enumerate(zip(there, here, strict=True))], "x"
    )

    assert seeded.drop == pytest.approx(plain.drop)
    assert seeded.upper == pytest.approx(plain.upper)
    assert seeded.p_value(-0.1) == pytest.approx(plain.p_value(-0.1))
    assert seeded.detectable(0.02) == pytest.approx(plain.detectable(0.02))


def test_flips_that_all_seeds_show_are_flips() -> None:
    seeded = drop([[1.0, 1.0]] * 8, [[0.0, 0.0]] * 4 + [[1.0, 1.0]] * 4, "cs_exp")

    assert (seeded.is_binary, seeded.method, seeded.worse) == (True, "exact", 4)


def test_a_flip_under_one_seed_is_none() -> None:
    seeded = drop([[1.0, 1.0]] * 8, [[0.0, 1.0]] * 4 + [[1.0, 1.0]] * 4, "cs_exp")

    assert not seeded.is_binary
    assert seeded.drop == pytest.approx(0.25)


def test_bound_and_p_value_agree() -> None:
    """The p-value of a margin is 5 % where the lower bound touches it, which is the upper bound from the other end."""
    generator = np.random.default_rng(3)
    there = (
        generator.uniform(0.3, 0.6, (80, 1)) + generator.normal(0, 0.05, (1, 4)) + generator.normal(0, 0.05, (80, 4))
    )
    here = there + 0.1 + generator.normal(0, 0.05, (80, 4)) + generator.normal(0, 0.04, (1, 4))
    better, worse = drop(there.tolist(), here.tolist()), drop(here.tolist(), there.tolist())

    assert better.spread.excess > 0
    assert worse.p_value(-better.upper) == pytest.approx(0.05, abs=0.01)
    assert worse.p_value(-better.upper - 0.05) < 0.05 < worse.p_value(-better.upper + 0.05)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_seeds_alone_fail_no_gate(seeds: int) -> None:
    """Nothing got worse, but the seeds of both sides move all cases: a test over cases alone fails far too often."""
    generator = np.random.default_rng(5)
    rounds, cases, fails, alone, misses = 250, 60, 0, 0, 0
    level = generator.uniform(0.3, 0.6, (rounds, cases, 1))
    for row in level:
        there, here = (
            row + generator.normal(0, 0.03, (1, seeds)) + generator.normal(0, 0.02, (cases, seeds)) for _ in "ab"
        )
        found = drop(there.tolist(), here.tolist())
        found = SeededDrop(
            found.differences, found.labels, found.is_binary, found.reach, "x", resamples=999, spread=found.spread
        )
        fails += found.p_value(0.0) < 0.05
        misses += found.upper < 0.0
        alone += PairedDrop.p_value(found, 0.0) < 0.05
    assert fails / rounds <= 0.08
    assert misses / rounds <= 0.08
    assert alone / rounds > 0.3


def test_a_drop_beyond_all_seeds_is_found() -> None:
    generator = np.random.default_rng(7)
    there = generator.uniform(0.5, 0.8, (60, 1)) + generator.normal(0, 0.01, (1, 5))
    here = there - 0.15 + generator.normal(0, 0.01, (1, 5)) + generator.normal(0, 0.02, (60, 5))
    found = drop(there.tolist(), here.tolist())

    assert found.p_value(0.05) < 0.01
    assert found.upper < 0.2
    power = found.detectable(0.05)
    assert power is not None
    alone = PairedDrop.detectable(found, 0.05)
    assert alone is not None
    assert 0.05 < alone < power
