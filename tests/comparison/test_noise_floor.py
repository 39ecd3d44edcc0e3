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


def made(value: float, **fields: object) -> RunResults:
    return run([case("c0", {"cm": value}), case("c1", {"cm": 0.5})], **fields)


def test_seeds_are_told_apart_from_rounding() -> None:
    """Two seeds in two batch sizes: each source is read off the pairs that differ in nothing else."""
    (floor,) = noise_floor(
        [
            made(0.10, seed=0, batch_size=None),
            made(0.11, seed=0, batch_size=1),
            made(0.50, seed=1, batch_size=None),
            made(0.52, seed=1, batch_size=1),
        ]
    )
    assert floor.seed is not None
    assert floor.rounding is not None
    assert (floor.seed.pairs, floor.rounding.pairs) == (2, 2)
    assert floor.seed.largest == pytest.approx(0.205)
    assert floor.rounding.largest == pytest.approx(0.01)
    assert {*floor.by_source} == {"seed", "batch size"}
    assert floor.largest == pytest.approx(0.21)  # of runs that differ in both
    assert floor.margin == "50pp"


def test_seeds_alone_have_no_share_in_rounding() -> None:
    (floor,) = noise_floor([made(0.1, seed=seed) for seed in range(3)])
    assert (floor.seed is not None, floor.rounding) == (True, None)
    assert floor.margin == "0"


@pytest.mark.parametrize(
    ("field", "source"),
    [
        ({"batch_size": 1}, "batch size"),
        ({"dtype": "bfloat16"}, "dtype"),
        ({"device": "cuda"}, "device"),
        ({"versions": {"torch": "2.14", "python": "3.11"}}, "versions"),
        ({"versions": {"torch": "2.13", "python": "3.12"}}, "repeat"),
        ({"dtype": "bfloat16", "device": "cuda"}, None),
    ],
)
def test_what_rounding_is_from(field: dict[str, object], source: str | None) -> None:
    (floor,) = noise_floor([made(0.1), made(0.3, **field)])
    assert floor.rounding is not None
    assert floor.rounding.largest == pytest.approx(0.1)
    assert floor.rounding.sd == pytest.approx(0.1 / 2**0.5)
    assert [*floor.by_source] == ([] if source is None else [source])
    assert floor.seed is None


def test_a_run_with_several_seeds_is_a_run_for_each() -> None:
    def under(seed: int, value: float, editor: str = "rome") -> list[object]:
        found = case("c0", {"cm": value}, editor=f"{editor}+seed{seed}")
        found.seed = seed
        return [found]

    several = run([*under(0, 0.1), *under(1, 0.4)])
    (floor,) = noise_floor([several])
    assert (floor.editor, floor.runs) == ("rome", 2)
    assert floor.seed is not None
    assert floor.seed.largest == pytest.approx(0.3)

    (floor,) = noise_floor([several, run([case("c0", {"cm": 0.15})], seed=0, batch_size=1)])  # a plain run beside it
    assert floor.runs == 3
    assert floor.by_source["batch size"].largest == pytest.approx(0.05)
    assert floor.by_source["seed"].largest == pytest.approx(0.3)


def test_the_margin_covers_both_kinds_of_noise() -> None:
    """No two runs differ in both; a run that does may lie further away than any two that were seen."""
    (floor,) = noise_floor([made(0.10), made(0.16, seed=1), made(0.18, dtype="bfloat16")])
    assert floor.largest == pytest.approx(0.04)
    assert floor.margin == "5pp"
    (floor,) = noise_floor([made(0.10), made(0.13, seed=1), made(0.06, dtype="bfloat16")])
    assert floor.largest == pytest.approx(0.035)
    assert floor.margin == "5pp"


def test_a_metric_without_a_direction_has_noise_and_no_gate() -> None:
    def made_of(value: float) -> RunResults:
        return run([case("c0", {"related_kept": value, "others_kept": value}, suite="same_subject")])

    margins = {floor.metric: floor.margin for floor in noise_floor([made_of(0.1), made_of(0.3)])}
    assert margins == {"others_kept": "20pp", "related_kept": None}


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
