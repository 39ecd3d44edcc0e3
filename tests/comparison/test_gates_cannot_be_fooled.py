"""Runs that were made to fool a gate: what a referee found, one by one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from comparison_samples import KINDS, case, metric_runs, run
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_editpitfalls.comparison.baseline import Baseline
from pytest_editpitfalls.comparison.pairing import compare
from pytest_editpitfalls.comparison.relative_gates import evaluate_relative_gates, parse_relative_gate
from pytest_editpitfalls.results.comparison_records import RelativeGateRecord
from pytest_editpitfalls.results.records import ProbeRecord

FOUR_EQUAL = 1 - 0.05 ** (1 / 4)
"""Exact upper bound of a rate that was 0 in four cases."""


def judged(text: str, comparison: Any) -> RelativeGateRecord:
    (record,) = evaluate_relative_gates([parse_relative_gate(text, KINDS)], comparison, KINDS)
    return record


def with_probabilities(metric: str, values: Sequence[float], p: float, **fields: Any) -> Any:
    """A run with a metric, whose cases store the probability ``p``."""
    cases = [case(f"c{place}", {metric: value}, **fields) for place, value in enumerate(values)]
    for each in cases:
        each.probes = [ProbeRecord(fact="new_exp", state="12", probabilities=[p])]
    return run(cases)


def test_many_subjects_worse_one_with_many_cases_better() -> None:
    """The test weighed subjects, the printed figure cases: "fail, got worse by -0.006"."""
    there = [0.8] * 8 + [0.5] * 20
    here = [0.5] * 8 + [0.63] * 20
    subjects = [f"s{place}" for place in range(8)] + ["one"] * 20
    smooth = judged("reverse.cm:0", metric_runs("cm", there, here, subject=subjects))
    flipped = metric_runs("cs_exp", [1.0] * 8 + [0.0] * 20, [0.0] * 8 + [1.0] * 9 + [0.0] * 11, subject=subjects)
    for record in (smooth, judged("reverse.cs_exp:0", flipped)):
        assert record.drop is not None
        assert record.drop < 0
        assert record.verdict == "inconclusive"
        assert record.p is not None
        assert record.p >= 0.5


CASES = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=2, max_size=40
)


@settings(max_examples=100, deadline=None)
@given(cases=CASES, margin=st.sampled_from(["0", "5pp", "30pp"]), metric=st.sampled_from(["cs_exp", "ps"]))
def test_what_is_decided_is_what_is_printed(cases: list[Any], margin: str, metric: str) -> None:
    there, here = [case[1] for case in cases], [case[2] for case in cases]
    subjects = [f"s{case[0] ** 2 // 3}" for case in cases]  # of uneven size
    record = judged(f"reverse.{metric}:{margin}", metric_runs(metric, there, here, subject=subjects))
    assert record.drop is not None
    assert record.margin is not None
    assert record.drop == pytest.approx(sum(there) / len(there) - sum(here) / len(here))
    if record.verdict == "fail":
        assert record.drop > record.margin
    if record.verdict == "pass":
        assert record.upper is not None
        assert record.drop <= record.upper <= record.margin


def test_four_of_four_cases_flip_at_a_margin_of_zero() -> None:
    record = judged("reverse.cs_exp:0", metric_runs("cs_exp", [1.0] * 4, [0.0] * 4))
    assert record.p == pytest.approx(0.0625, abs=1e-4)
    assert (record.verdict, record.passed) == ("inconclusive", None)


@pytest.mark.parametrize("lost", [1, 2])
def test_a_margin_of_zero_never_passes_where_something_got_worse(lost: int) -> None:
    record = judged("reverse.cs_exp:0", metric_runs("cs_exp", [1.0] * 60, [0.0] * lost + [1.0] * (60 - lost)))
    assert record.verdict == "inconclusive"


def test_a_margin_of_zero_passes_where_it_surely_got_better() -> None:
    record = judged("reverse.cs_exp:0", metric_runs("cs_exp", [0.0] * 60, [1.0] * 20 + [0.0] * 40))
    assert record.verdict == "pass"
    assert record.upper is not None
    assert record.upper <= 0


@pytest.mark.parametrize(
    ("metric", "suite"), [("cs_exp", "reverse"), ("succ", "easy"), ("ps", "reverse"), ("ir", "easy")]
)
@pytest.mark.parametrize("margin", ["0", "2pp"])
def test_no_flip_among_four_cases_is_no_bound_of_zero(metric: str, suite: str, margin: str) -> None:
    """Their probabilities changed: another four cases may flip."""
    base = Baseline.of(with_probabilities(metric, [1.0] * 4, 0.25, suite=suite))
    other = compare(base, with_probabilities(metric, [1.0] * 4, 0.2500001, suite=suite))
    record = judged(f"{suite}.{metric}:{margin}", other)
    assert record.upper == pytest.approx(FOUR_EQUAL, abs=1e-4)
    assert record.verdict == "inconclusive"
    assert record.method != "identical"
    same = compare(base, with_probabilities(metric, [1.0] * 4, 0.25, suite=suite))
    record = judged(f"{suite}.{metric}:{margin}", same)
    assert (record.verdict, record.upper, record.method) == ("pass", 0.0, "identical")


def test_no_flip_of_one_subject_with_many_cases_says_next_to_nothing() -> None:
    base = Baseline.of(with_probabilities("cs_exp", [1.0] * 20, 0.25, subject="one"))
    record = judged("reverse.cs_exp:2pp", compare(base, with_probabilities("cs_exp", [1.0] * 20, 0.3, subject="one")))
    assert record.upper == pytest.approx(0.95)


def test_a_baseline_that_does_not_hold_the_probabilities_shows_no_identity() -> None:
    """One of an earlier version: all its metrics may be the same though the probabilities are not."""
    base = Baseline.of(with_probabilities("cs_exp", [1.0] * 4, 0.25))
    old = Baseline.model_validate_json(re.sub(r', "scores": "[0-9a-f]+"', "", base.text()))
    record = judged("reverse.cs_exp:2pp", compare(old, with_probabilities("cs_exp", [1.0] * 4, 0.25)))
    assert (record.verdict, record.method) == ("inconclusive", "exact")


@pytest.mark.parametrize(
    ("margin", "there", "here", "verdict"),
    [
        ("10pp", [1.0, 0.0, -1.0] * 40, [0.0, -1.0, -1.0] * 40, "fail"),
        ("10pp", [0.0, 0.0, -1.0] * 40, [1.0, 0.0, -1.0] * 40, "pass"),
        ("150pp", [1.0, 0.0, -1.0] * 40, [0.0, -1.0, -1.0] * 40, "pass"),
        ("10pp", [1.0, 0.0, -1.0], [0.0, -1.0, -1.0], "inconclusive"),
        ("20%", [-1.0] * 40, [-1.0] * 36 + [0.0] * 4, "pass"),
    ],
)
def test_a_lift_over_the_unedited_model_is_gated_as_any_metric(
    margin: str, there: list[float], here: list[float], verdict: str
) -> None:
    record = judged(f"reverse.cs_exp_lift:{margin}", metric_runs("cs_exp_lift", there, here))
    assert record.verdict == verdict
    assert record.drop == pytest.approx(sum(there) / len(there) - sum(here) / len(here))


def test_no_change_of_a_lift_leaves_room_for_its_whole_range() -> None:
    base = Baseline.of(with_probabilities("cs_exp_lift", [1.0] * 4, 0.25))
    record = judged("reverse.cs_exp_lift:2pp", compare(base, with_probabilities("cs_exp_lift", [1.0] * 4, 0.3)))
    assert record.upper == pytest.approx(2 * FOUR_EQUAL, abs=1e-4)


def test_a_margin_of_zero_passes_only_where_nothing_got_worse() -> None:
    there, here = [0.0] * 30 + [1.0] * 28, [1.0] * 30 + [0.0] + [1.0] * 27
    record = judged("reverse.cs_exp:0", metric_runs("cs_exp", there, here))
    assert (record.worse, record.better, record.verdict) == (1, 30, "inconclusive")
    assert record.reason == "1 case got worse, and the margin is 0"


@pytest.mark.parametrize("lost", [1.0, 0.3])
def test_one_changed_case_of_many_leaves_a_bound(lost: float) -> None:
    """Resamples without it have no spread: the bound was the whole range, 200 points of a lift."""
    record = judged("reverse.cs_exp_lift:20pp", metric_runs("cs_exp_lift", [1.0] * 58, [1.0 - lost] + [1.0] * 57))
    assert record.drop == pytest.approx(lost / 58)
    assert record.upper is not None
    assert lost / 58 < record.upper < 0.2
    assert record.verdict == "pass"
