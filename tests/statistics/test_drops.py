"""Drops of paired cases: clusters, bounds, p-values, sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import beta, t

from pytest_editpitfalls.statistics.clusters import Clusters, bounded_draws, studentised
from pytest_editpitfalls.statistics.drops import FEW_CLUSTERS, FEW_FLIPS, PairedDrop, holm

VALUES = st.lists(st.floats(-1, 1).map(lambda value: round(value, 3)), min_size=2, max_size=70)
FLIPS = st.lists(st.sampled_from([-1.0, 0.0, 0.0, 0.0, 1.0]), min_size=2, max_size=70)


def paired(
    values: list[float],
    *,
    binary: bool = False,
    reach: float | None = 1.0,
    labels: Any = None,
    is_identical: bool = False,
) -> PairedDrop:
    labels = labels or list(range(len(values)))
    return PairedDrop(values, labels, binary, reach, "seed", 499, is_identical=is_identical)


def test_clusters_sum_their_cases() -> None:
    clusters = Clusters.of([0.1, -0.2, 0.3], ["a", "b", "a"])
    assert clusters.sums.tolist() == pytest.approx([-0.2, 0.4])
    assert clusters.sizes.tolist() == [1, 2]
    assert (clusters.n, clusters.changed) == (3, 2)
    assert clusters.mean == pytest.approx(0.2 / 3)
    assert clusters.effective == pytest.approx(9 / 5)


def test_single_cases_have_the_usual_standard_error() -> None:
    values = [0.1, 0.5, -0.2, 0.9]
    expected = np.std(values, ddof=1) / 2
    assert Clusters.of(values, range(4)).standard_error == pytest.approx(expected)  # type: ignore[arg-type]
    assert math.isnan(Clusters.of([1.0, 2.0], ["a", "a"]).standard_error)


def test_equal_cases_of_a_cluster_are_worth_one() -> None:
    values = [0.1, 0.5, -0.2, 0.9]
    once, twice = Clusters.of(values, list("abcd")), Clusters.of(values * 2, list("abcd") * 2)
    assert twice.standard_error == pytest.approx(once.standard_error)
    assert twice.effective == once.effective == 4


@pytest.mark.parametrize(("wins", "n"), [(1, 10), (5, 20), (0, 30)])
def test_the_bound_for_few_is_clopper_and_pearsons_for_zeros_and_ones(wins: int, n: int) -> None:
    clusters = Clusters.from_sums([1.0] * wins + [0.0] * (n - wins), [1.0] * n)
    draws = bounded_draws(clusters, 0.0, np.random.default_rng(0), 200_000)
    expected = 0.0 if wins == 0 else beta.ppf(0.05, wins, n - wins + 1)
    assert np.quantile(draws, 0.05) == pytest.approx(expected, abs=2e-3)


def test_the_studentised_mean_of_normal_values_is_nearly_students() -> None:
    values = t.ppf((np.arange(60) + 0.5) / 60, 1000)
    distribution = studentised(Clusters.from_sums(values, np.ones(60)), np.random.default_rng(0), 20_000)
    for level in (0.05, 0.5, 0.95):
        assert np.quantile(distribution, level) == pytest.approx(t.ppf(level, 59), abs=0.08)


def test_a_resample_without_spread_is_infinitely_far_out() -> None:
    distribution = studentised(Clusters.from_sums([0.0, 1.0], [1.0, 1.0]), np.random.default_rng(0), 200)
    assert distribution[0] == -math.inf
    assert distribution[-1] == math.inf
    assert set(studentised(Clusters.from_sums([1.0] * 5, [1.0] * 5), np.random.default_rng(0), 50)) == {0.0}


@pytest.mark.parametrize(
    ("values", "options", "method"),
    [
        ([0.0] * 50, {"is_identical": True}, "identical"),
        ([0.0] * 50, {"is_identical": True, "binary": True}, "identical"),
        ([0.0] * 50, {}, "bounded"),
        ([0.0] * 50, {"reach": None}, "none"),
        ([0.0] * 50, {"binary": True}, "exact"),
        ([0.0] * 50, {"binary": True, "labels": [0, 0, *range(48)]}, "bounded"),
        ([1.0] + [0.0] * 99, {"binary": True, "labels": [0, 0, *range(98)]}, "bounded"),
        ([1.0] + [0.0] * 99, {"binary": True}, "exact"),
        ([1.0, -1.0] * FEW_FLIPS, {"binary": True}, "bootstrap"),
        ([1.0, -1.0] * FEW_FLIPS, {"binary": True, "labels": ["a", "b"] * FEW_FLIPS}, "exact"),
        ([0.1] + [0.0] * FEW_CLUSTERS, {}, "bootstrap"),
        ([0.1] * (FEW_CLUSTERS - 1), {}, "bounded"),
        ([0.1] * (FEW_CLUSTERS - 1), {"reach": None}, "none"),
        ([0.1] * FEW_CLUSTERS, {"reach": None}, "bootstrap"),
    ],
)
def test_the_method_follows_clusters_and_flips(values: list[float], options: dict[str, Any], method: str) -> None:
    assert paired(values, **options).method == method


@pytest.mark.parametrize("binary", [False, True])
def test_identical_values_have_no_drop(binary: bool) -> None:
    same = paired([0.0] * 50, binary=binary, is_identical=True)
    assert (same.drop, same.upper, same.p_value(0.0), same.p_value(0.02)) == (0.0, 0.0, 1.0, 1.0)
    assert same.detectable(0.02) is not None  # what could it have found?


@pytest.mark.parametrize(("n", "labels", "worth"), [(4, None, 4), (20, [0] * 20, 1), (4, [0, 0, 1, 2], 16 / 6)])
@pytest.mark.parametrize(("binary", "reach"), [(True, 1.0), (False, 1.0), (False, 2.0)])
def test_no_difference_is_the_bound_of_a_rate_that_was_never_seen(
    n: int, labels: Any, worth: float, binary: bool, reach: float
) -> None:
    unchanged = paired([0.0] * n, binary=binary, reach=reach, labels=labels)
    assert unchanged.upper == pytest.approx(reach * (1 - 0.05 ** (1 / worth)))
    assert (unchanged.drop, unchanged.p_value(0.0)) == (0.0, 1.0)


@pytest.mark.parametrize("binary", [True, False])
def test_a_drop_within_its_margin_is_never_proven_beyond_it(binary: bool) -> None:
    values, labels = [1.0] * 8 + [-1.0] * 9 + [0.0] * 11, [*range(8), *[8] * 20]
    drop = paired(values, binary=binary, reach=1.0, labels=labels)
    assert drop.drop < 0
    assert drop.p_value(0.0) >= 0.5
    assert drop.method == "bounded"


def test_an_unbounded_metric_with_few_clusters_proves_nothing() -> None:
    few = paired([5.0] * 10, reach=None)
    assert (few.p_value(0.0), few.upper, few.detectable(0.0)) == (1.0, math.inf, None)


@settings(max_examples=60, deadline=None)
@given(values=VALUES, margin=st.floats(0, 0.5))
def test_order_does_not_matter(values: list[float], margin: float) -> None:
    labels = [place // 2 for place in range(len(values))]
    one = paired(values, labels=labels)
    other = paired(values[::-1], labels=[f"x{label}" for label in labels[::-1]])
    assert one.method == other.method
    assert one.drop == pytest.approx(other.drop)
    assert one.p_value(margin) == pytest.approx(other.p_value(margin))
    assert one.upper == pytest.approx(other.upper)


@settings(max_examples=60, deadline=None)
@given(values=st.one_of(VALUES.map(lambda v: (v, False)), FLIPS.map(lambda v: (v, True))))
def test_sides_exchanged_exchange_better_and_worse(values: tuple[list[float], bool]) -> None:
    there, back = (paired([sign * value for value in values[0]], binary=values[1]) for sign in (1.0, -1.0))
    assert there.drop == pytest.approx(-back.drop)
    assert (there.worse, there.better) == (back.better, back.worse)
    assert there.method == back.method
    assert -back.upper <= there.drop + 1e-9 <= there.upper + 2e-9  # one's upper bound is the other's lower one
    assert there.clusters.reversed().sums.tolist() == back.clusters.sums.tolist()


@settings(max_examples=60, deadline=None)
@given(
    values=st.one_of(VALUES.map(lambda v: (v, False)), FLIPS.map(lambda v: (v, True))),
    margins=st.tuples(*[st.floats(0, 0.9)] * 2),
)
def test_a_wider_margin_is_harder_to_exceed(values: tuple[list[float], bool], margins: tuple[float, float]) -> None:
    drop = paired(values[0], binary=values[1])
    narrow, wide = sorted(margins)
    assert drop.p_value(wide) >= min(drop.p_value(narrow), 0.5) - 5e-3
    # never proven worse and proven within the margin at once
    assert not (drop.p_value(wide) < 0.05 and drop.upper <= wide)


@settings(max_examples=30, deadline=None)
@given(values=VALUES, seed=st.integers(0, 5))
def test_the_same_seed_gives_the_same_answer(values: list[float], seed: int) -> None:
    one, other = (PairedDrop(values, range(len(values)), False, 1.0, str(seed), 199) for _ in range(2))
    assert (one.p_value(0.01), one.upper) == (other.p_value(0.01), other.upper)


def test_a_plain_loss_is_found_and_a_plain_gain_is_not() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 0.05, 60)
    assert paired((0.1 + noise).tolist()).p_value(0.02) < 0.01
    assert paired((noise - 0.1).tolist()).p_value(0.02) > 0.9
    assert paired((noise - 0.1).tolist()).upper < 0.0
    assert paired([1.0] * 12 + [0.0] * 46, binary=True).p_value(0.02) < 0.01
    assert paired([-1.0] * 12 + [0.0] * 46, binary=True).p_value(0.0) > 0.9


@pytest.mark.parametrize("binary", [True, False])
def test_more_cases_find_smaller_drops(binary: bool) -> None:
    sizes = []
    for n in (60, 240, 960):
        values = [1.0, -1.0, *[0.0] * 18] * (n // 20)
        if not binary:
            values = [value / 10 for value in values]
        size = paired(values, binary=binary).detectable(0.02)
        assert size is not None
        assert size > 0.02
        sizes.append(size)
    assert sizes == sorted(sizes, reverse=True)


def test_a_stricter_level_and_a_wider_margin_find_less() -> None:
    drop = paired([1.0, -1.0, *[0.0] * 18] * 10, binary=True)
    one, stricter, wider = drop.detectable(0.02), drop.detectable(0.02, 0.005), drop.detectable(0.05)
    assert one is not None
    assert stricter is not None
    assert wider is not None
    assert one < stricter
    assert one < wider


def test_few_cases_find_nothing() -> None:
    assert paired([1.0, -1.0, 1.0, 0.0, 0.0], binary=True).detectable(0.02) is None
    assert paired([0.5, -0.5, 0.2], reach=1.0).detectable(0.02) is None


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=20), data=st.data())
def test_holm_keeps_the_order_and_never_helps(p: list[float], data: st.DataObject) -> None:
    adjusted = holm(p)
    assert all(raw <= new <= 1.0 for raw, new in zip(p, adjusted, strict=True))
    ranked = sorted(zip(p, adjusted, strict=True))
    assert [new for _, new in ranked] == sorted(adjusted)
    places = data.draw(st.permutations(range(len(p))))
    assert holm([p[place] for place in places]) == [adjusted[place] for place in places]
    assume(len(p) > 1)
    assert all(part <= whole for part, whole in zip(holm(p[:-1]), adjusted[:-1], strict=True))
