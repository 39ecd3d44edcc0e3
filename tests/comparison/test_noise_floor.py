"""The noise floor of several runs of the same editor."""

from __future__ import annotations

import pytest
from comparison_samples import case, run
from hypothesis import given
from hypothesis import strategies as st

from pytest_editpitfalls.comparison.noise import noise_floor, suggested_margin
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.results import RunResults


def values(*rows: float | None) -> RunResults:
    return run([case(f"c{place}", {"cm": value, "cs_exp": 1.0}) for place, value in enumerate(rows)])


def test_the_floor_by_hand() -> None:
    cm, cs_exp = sorted(noise_floor([values(0.1, 0.2), values(0.1, 0.4), values(0.1, 0.25)]), key=lambda f: f.metric)
    assert (cm.suite, cm.editor, cm.model, cm.metric, cm.runs, cm.n) == ("reverse", "rome", "m", "cm", 3, 2)
    assert cm.largest == pytest.approx(0.1)
    assert cm.usual == pytest.approx(0.1)
    assert cm.largest_case == pytest.approx(0.2)
    assert (cm.changed, cm.margin) == (1, "10pp")
    assert (cs_exp.largest, cs_exp.changed, cs_exp.margin) == (0.0, 0, "0")


def test_the_usual_difference_leaves_out_the_largest_of_many() -> None:
    floor = noise_floor([values(0.1 + 0.001 * place) for place in range(10)])[-1]
    assert floor.metric == "cm"
    assert floor.largest == pytest.approx(0.009)
    assert floor.usual == pytest.approx(0.008)  # 44 of 45 pairs differ by no more


def test_unknown_values_and_errors_are_left_out() -> None:
    first, second = values(0.1, 0.2, 0.3), values(0.1, None, 0.3)
    second.cases[2].outcome = "error"
    cm = next(floor for floor in noise_floor([first, second]) if floor.metric == "cm")
    assert (cm.n, cm.changed) == (1, 0)


def test_runs_that_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="at least two runs"):
        noise_floor([values(0.1)])
    with pytest.raises(UsageError, match="no scored case in common"):
        noise_floor([values(0.1), run([case("z")])])
    with pytest.raises(UsageError, match="define their metrics otherwise"):
        noise_floor([values(0.1), run([case("c0", {"cm": 0.1})], metric_definitions="other")])
    with pytest.raises(UsageError, match="does not ask the same"):
        noise_floor([values(0.1), run([case("c0", {"cm": 0.1}, digest="other")])])


@given(floor=st.floats(0, 1))
def test_the_margin_is_never_below_the_floor_and_never_far_above(floor: float) -> None:
    margin = suggested_margin(floor)
    points = float(margin.removesuffix("pp"))
    assert points >= 100 * floor * (1 - 1e-6)
    assert points <= max(250 * floor + 1e-9, 0.1)


@pytest.mark.parametrize(
    ("floor", "margin"), [(0, "0"), (1e-9, "0.1pp"), (0.0034, "0.5pp"), (0.01, "1pp"), (0.03, "5pp")]
)
def test_margins(floor: float, margin: str) -> None:
    assert suggested_margin(floor) == margin
