"""Tango's score and its exact tails, held against published and independently computed numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import beta, binom, multinomial

from pytest_editpitfalls.statistics.paired_binary import bound, mcnemar, p_value, tail, tango_score

COUNTS = st.integers(1, 60).flatmap(
    lambda n: st.integers(0, n).flatmap(lambda worse: st.tuples(st.just(worse), st.integers(0, n - worse), st.just(n)))
)


def test_the_interval_of_a_published_example() -> None:
    """The table of Bentur et al. 2009 (1, 1, 7, 12), with Tango's 95 % interval as remembered; not looked up again."""
    z = 1.959964
    low = brentq(lambda drop: float(tango_score(1, 7, 21, drop)) - z, -0.9, -0.286)
    high = brentq(lambda drop: float(tango_score(1, 7, 21, drop)) + z, -0.285, 0.9)
    assert (low, high) == pytest.approx((-0.517, -0.026), abs=6e-4)


@settings(max_examples=80, deadline=None)
@given(counts=COUNTS, drop=st.floats(-0.8, 0.8))
def test_the_score_uses_the_maximum_of_the_likelihood(counts: tuple[int, int, int], drop: float) -> None:
    worse, better, n = counts
    assume(abs(drop) > 1e-3 and worse + better > 0)

    def unlikely(rate: float) -> float:
        shares = np.array([rate + drop, rate, 1 - 2 * rate - drop])
        known = np.array([worse, better, n - worse - better])
        return -float((known[known > 0] * np.log(np.maximum(shares[known > 0], 1e-300))).sum())

    low, high = max(0.0, -drop), (1 - drop) / 2
    rate = minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    variance = n * (2 * rate + drop * (1 - drop))
    assume(variance > 1e-3)
    assert float(tango_score(worse, better, n, drop)) == pytest.approx(
        (worse - better - n * drop) / math.sqrt(variance), rel=2e-3, abs=2e-3
    )


@given(counts=COUNTS, drop=st.floats(-0.95, 0.95))
def test_the_score_is_antisymmetric(counts: tuple[int, int, int], drop: float) -> None:
    worse, better, n = counts
    there, back = tango_score(worse, better, n, drop), tango_score(better, worse, n, -drop)
    assert float(there) == pytest.approx(-float(back), abs=1e-6)


@pytest.mark.parametrize(("worse", "better"), [(0, 0), (1, 0), (5, 0), (5, 1), (12, 2), (3, 9), (7, 7)])
def test_mcnemar_is_the_binomial_test(worse: int, better: int) -> None:
    flips = worse + better
    expected = min(1.0, 2 * binom.cdf(min(worse, better), flips, 0.5)) if flips else 1.0
    assert mcnemar(worse, better) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("worse", "better", "n", "drop"), [(4, 1, 20, 0.05), (9, 0, 30, 0.1), (2, 2, 15, -0.2), (0, 0, 12, 0.1)]
)
def test_the_tail_is_the_sum_over_all_outcomes(worse: int, better: int, n: int, drop: float) -> None:
    observed = float(tango_score(worse, better, n, drop))
    rates = np.linspace(max(0.0, -drop) + 0.01, 0.3, 4)
    for rate, found in zip(rates, tail(observed, n, drop, rates), strict=True):
        shares = [rate + drop, rate, 1 - 2 * rate - drop]
        expected = sum(
            multinomial.pmf([b, c, n - b - c], n, shares)
            for b, c in itertools.product(range(n + 1), repeat=2)
            if b + c <= n and float(tango_score(b, c, n, drop)) >= observed - 1e-9
        )
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("n", [12, 25, 40])
@pytest.mark.parametrize("margin", [0.0, 0.02, 0.1])
def test_the_level_holds_for_every_flip_rate(n: int, margin: float) -> None:
    """Exactly, by all outcomes: Tango's asymptotic test fails up to 8 % here."""
    outcomes = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    rejects = [
        place for place, (b, c) in enumerate(outcomes) if (b - c) / n > margin and p_value(b, c, n, margin) < 0.05
    ]
    counts = np.array([[b, c, n - b - c] for b, c in outcomes])[rejects]
    for rate in np.linspace(0.0, min(0.4, (1 - margin) / 2), 25):
        shares = [rate + margin, rate, 1 - 2 * rate - margin]
        assert multinomial.pmf(counts, n, shares).sum() <= 0.05


@pytest.mark.parametrize("n", [10, 40, 2500])
@pytest.mark.parametrize("worse", [0, 1, 3])
def test_without_better_flips_the_bound_is_near_clopper_and_pearson(n: int, worse: int) -> None:
    assert bound(worse, 0, n, 0.05) == pytest.approx(beta.ppf(0.95, worse + 1, n - worse), rel=0.02)


@settings(max_examples=40, deadline=None)
@given(counts=COUNTS)
def test_the_bound_holds_the_drop_and_agrees_with_the_test(counts: tuple[int, int, int]) -> None:
    worse, better, n = counts
    upper = bound(worse, better, n, 0.05)
    assert (worse - better) / n <= upper <= 1.0
    if upper < 0.999:
        assert p_value(better, worse, n, -upper - 1e-4) <= 0.0501


@settings(max_examples=60, deadline=None)
@given(counts=COUNTS, margins=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)))
def test_a_wider_margin_is_harder_to_exceed(counts: tuple[int, int, int], margins: tuple[float, float]) -> None:
    worse, better, n = counts
    narrow, wide = sorted(margins)
    # near 1, where nothing is decided, the interval of the flip rate may move the p-value a little
    assert p_value(worse, better, n, wide) >= min(p_value(worse, better, n, narrow), 0.5) - 5e-3


def test_broken_counts_and_large_suites() -> None:
    assert p_value(8, 2, 40, 0.02) < p_value(7.5, 2.5, 40.3, 0.02) < p_value(7, 3, 40, 0.02)
    assert p_value(120, 60, 12_500, 0.001) < 0.01
    assert p_value(0, 0, 1, 0.0) == 1.0
