"""Intervals of means: exact where that is known, wide enough where cases are few or alike, the same in any order."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_editpitfalls.statistics.effective import effective
from pytest_editpitfalls.statistics.gaffke import lower_limit
from pytest_editpitfalls.statistics.intervals import FEW, LEVEL, Interval, mean_interval


def alone(values: Sequence[float], low: float | None = 0.0, high: float | None = 1.0) -> Interval:
    """Return the interval of cases with a subject each."""
    return mean_interval(values, range(len(values)), low, high)


@pytest.mark.parametrize("n", [1, 2, 4, 10, 97, 2500])
def test_a_share_has_the_interval_of_clopper_and_pearson(n: int) -> None:
    from scipy.stats import binomtest

    for successes in {0, 1, n // 3, n // 2, n - 1, n}:
        theirs = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="exact")
        ours = mean_interval([1.0] * successes + [0.0] * (n - successes), range(n), 0.0, 1.0, is_binary=True)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0, abs=1e-9)
        assert ours.method == "exact"


@pytest.mark.parametrize("n", [2, 4, 10, 60])
@pytest.mark.parametrize("least", [0.0, -1.0])
def test_the_limit_is_the_quantile_of_drawn_weights(n: int, least: float) -> None:
    generator = np.random.default_rng(n)
    values = generator.beta(0.5, 0.5, n)
    weights = generator.standard_exponential((200_000, n + 1))
    means = weights @ np.append(values, least) / weights.sum(axis=1)
    found = lower_limit(values, 1.0, least, LEVEL)
    # the approximation is on the safe side for two or three
    assert 0.92 * LEVEL <= (means < found).mean() <= 1.04 * LEVEL


def test_values_that_are_worth_less_have_a_limit_of_fewer() -> None:
    values = [0.2, 0.4, 0.9]
    twice = lower_limit([*values, *values], 0.5, 0.0, LEVEL)
    assert twice == pytest.approx(lower_limit(values, 1.0, 0.0, LEVEL), abs=1e-9)
    assert twice < lower_limit([*values, *values], 1.0, 0.0, LEVEL)


def test_four_cases_that_are_all_right_are_not_a_hundred_per_cent() -> None:
    interval = alone([1.0] * 4)
    assert interval.low == pytest.approx(0.025**0.25)
    assert interval.high == 1.0
    nothing = alone([0.0] * 4, low=-1.0)
    assert (nothing.low, nothing.high) == pytest.approx((0.025**0.25 - 1, 1 - 0.025**0.25))


@settings(max_examples=80, deadline=None)
@given(
    values=st.lists(st.floats(-1, 1), min_size=1, max_size=12),
    subjects=st.lists(st.integers(0, 3), min_size=12, max_size=12),
)
def test_an_interval_has_a_width_and_holds_its_mean(values: list[float], subjects: list[int]) -> None:
    labels = subjects[: len(values)]
    interval = mean_interval(values, labels, -1.0, 1.0)
    mean = math.fsum(values) / len(values)
    assert interval.low is not None
    assert interval.high is not None
    assert -1.0 <= interval.low <= mean <= interval.high <= 1.0
    assert interval.high - interval.low > 0.1
    assert interval.reason is None
    assert 1 <= interval.effective <= len(values)
    order = list(range(len(values)))
    random.Random(0).shuffle(order)
    assert mean_interval([values[place] for place in order], [labels[place] for place in order], -1.0, 1.0) == interval


def test_the_interval_of_a_mirrored_metric_is_mirrored() -> None:
    values = [0.1, 0.2, 0.7, 0.9, 0.9]
    interval, mirrored = alone(values), alone([1 - value for value in values])
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - (interval.high or 0), 1 - (interval.low or 0)), abs=1e-7)


def test_few_cases_say_nothing_where_the_range_has_no_end() -> None:
    values = [0.1, -0.3, 0.8, 0.5]
    interval = alone(values, low=None)
    assert interval.low is None
    assert interval.high is not None
    assert interval.high < 1.0
    assert interval.method == "open"
    assert interval.reason == "no lower limit: the metric has no least value, and 4 independent cases are too few"
    for low, high in ((None, None), (-math.inf, math.inf)):
        both = alone(values, low=low, high=high)
        assert (both.low, both.high, both.method) == (None, None, "none")
        assert "no upper limit" in (both.reason or "")
    many = alone(values * (FEW // 4), low=None, high=None)
    assert many.low is not None
    assert many.high is not None
    assert many.method == "open"
    assert many.reason is None


def test_equal_values_say_nothing_of_a_tail() -> None:
    interval = alone([0.25] * FEW, low=None)
    assert interval.low is None
    assert interval.reason == "no lower limit: the metric has no least value, and all values are alike"


def test_one_long_tail_makes_the_interval_wide() -> None:
    values = [0.3] * (FEW - 1) + [0.31]
    short, long = alone(values, low=None), alone([*values[:-1], -9.0], low=None)
    assert short.low is not None
    assert long.low is not None
    assert short.low > 0.29
    assert long.low < -0.5


# What cases are worth -----------------------------------------------------------------------------------------------


def test_cases_of_their_own_are_worth_what_they_are() -> None:
    assert effective([0.0, 1.0, 1.0], "abc", LEVEL).cases == 3
    assert effective([0.0, 1.0, 1.0], "abc", LEVEL).clusters == 3


def test_where_nothing_is_known_of_the_correlation_clusters_count_once() -> None:
    assert effective([1.0] * 6, "aabbcc", LEVEL).cases == pytest.approx(3)
    assert effective([1.0] * 6, "aaaabc", LEVEL).cases == pytest.approx(2)
    assert effective([0.0, 1.0, 1.0], "aaa", LEVEL).cases == pytest.approx(1)


@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.3, 0.8])
def test_the_correlation_is_found(correlation: float) -> None:
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(900), [1, 2, 3, 4, 10, 16] * 150)
    found = []
    for _ in range(20):
        common, own = generator.normal(size=900)[labels], generator.normal(size=len(labels))
        values = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own
        found.append(effective(values.tolist(), labels.tolist(), LEVEL))
    assert np.mean([each.correlation for each in found]) == pytest.approx(correlation, abs=0.02)
    usual = (np.bincount(labels) ** 2).sum() / len(labels)
    plain = len(labels) / (1 + correlation * (usual - 1))
    assert 0.85 * plain <= np.mean([each.cases for each in found]) <= 1.02 * plain


def test_nothing_heavy_is_imported() -> None:
    """The import of scipy.stats takes a second, at the end of every run."""
    code = (
        "import sys\n"
        "from pytest_editpitfalls.statistics.intervals import mean_interval\n"
        "assert not {'scipy', 'numpy'} & set(sys.modules)\n"
        "assert mean_interval([0.0, 1.0, 0.5], 'aab', 0.0, 1.0).low > 0\n"
        "assert 'scipy.stats' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
