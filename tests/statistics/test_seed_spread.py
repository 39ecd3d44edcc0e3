"""The variance between seeds, and what it adds to an interval over cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pytest_editpitfalls.statistics.seeds import SeedSpread


def test_seeds_that_agree_add_nothing() -> None:
    spread = SeedSpread.of([[0.5, 0.5, 0.5], [1.0, 1.0, 1.0]], ["a", "b"])

    assert (spread.mean, spread.sd, spread.excess, spread.is_identical) == (0.75, 0.0, 0.0, True)
    assert spread.widened(0.4, 0.9) == pytest.approx((0.4, 0.9))


def test_one_seed_has_no_spread() -> None:
    spread = SeedSpread.of([[0.5], [1.0]], ["a", "b"])

    assert (spread.sd, spread.half_width()) == (None, 0.0)


def test_seeds_that_move_all_cases_together_have_their_own_degrees_of_freedom() -> None:
    """Without interaction the seeds' part is a t interval over the means of the seeds."""
    cases, shifts = [0.1, 0.4, 0.2, 0.7], [0.0, 0.1, 0.05]
    spread = SeedSpread.of([[case + shift for shift in shifts] for case in cases], [*"abcd"])

    expected = stats.t.ppf(0.975, 2) * np.std(shifts, ddof=1) / math.sqrt(3)
    assert spread.half_width() == pytest.approx(expected)
    assert spread.sd == pytest.approx(np.std(shifts, ddof=1))
    low, high = spread.widened(spread.mean - 0.3, spread.mean + 0.1)
    assert low is not None
    assert high is not None
    assert spread.widened(None, spread.mean + 0.1) == (None, high)
    assert (spread.mean - low, high - spread.mean) == pytest.approx(
        (math.hypot(0.3, expected), math.hypot(0.1, expected))
    )


def test_what_seeds_do_to_single_cases_is_in_the_interval_over_cases_already() -> None:
    """Two cases that flip in opposite directions: the seeds' means agree, and nothing is added."""
    spread = SeedSpread.of([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [*"abc"])

    assert spread.half_width() == 0.0


def test_interaction_is_counted_by_cluster() -> None:
    """Ten cases of one subject that flip together are one flip, not ten: no sign that seeds move all cases."""
    flips = [[1.0, 0.0]] * 10
    still = [[1.0, 1.0]] * 10
    single = SeedSpread.of(flips + still, [f"s{place}" for place in range(20)])
    together = SeedSpread.of(flips + still, ["a"] * 10 + [f"s{place}" for place in range(10)])

    assert together.seed_means == single.seed_means
    assert together.excess < single.excess


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("between", [0.0, 0.3])
def test_the_widened_interval_covers(seeds: int, between: float) -> None:
    """0/1 values of 50 cases: with seeds that move all of them an interval over cases alone covers 60 to 85 %."""
    generator = np.random.default_rng(7)
    covered = alone = 0
    rounds, cases = 600, 50
    truth = float(stats.norm.cdf(0.3 / math.sqrt(1 + between**2 + 0.3**2)))
    quantile = float(stats.t.ppf(0.975, cases - 1))
    for _ in range(rounds):
        score = 0.3 + generator.normal(0, 1, (cases, 1)) + generator.normal(0, between, (1, seeds))
        values = (score + generator.normal(0, 0.3, (cases, seeds)) > 0).astype(float)
        spread = SeedSpread.of(values.tolist(), range(cases))
        half = quantile * float(np.std(spread.case_means, ddof=1)) / math.sqrt(cases)
        low, high = spread.widened(spread.mean - half, spread.mean + half)
        covered += low is not None and high is not None and low <= truth <= high
        alone += abs(spread.mean - truth) <= half
    assert covered / rounds >= 0.93
    if between:
        assert alone / rounds < 0.9
