"""Metrics on values computed by hand, against scipy, and under arbitrary probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr

from pytest_editpitfalls.metrics.metric import fact_probabilities
from pytest_editpitfalls.pitfalls import (
    METRICS,
    PITFALLS,
    compile_case,
    compute_metrics,
    jensen_shannon,
    metric_of,
    metrics_for,
    unequal_tokens,
)
from pytest_editpitfalls.program import ProbeScore
from pytest_editpitfalls.suites import load_suite


def scores(tokens: int | None = None, **facts: dict[str, float]) -> list[ProbeScore]:
    """``scores(old={"1": 0.4})``: two prompts around the mean 0.4."""
    return [
        ProbeScore(fact.replace("other_", "other:"), state, (p - min(p, 1 - p) / 2, p + min(p, 1 - p) / 2), tokens)
        for fact, states in facts.items()
        for state, p in states.items()
    ]


KINDS = [kind.name for kind in PITFALLS]
ONE_PAGE = ("reverse", "composite", "coverage", "round", "edits")
"""What the benchmark has, and somebody's own edits; tests of the others have their metrics by hand."""
REVERSE = {
    "old": {"0": 0.3, "1": 0.4, "12": 0.1, "2": 0.3},
    "new_exp": {"0": 0.1, "12": 0.2, "2": 0.4},
    "new_imp": {"0": 0.4, "12": 0.05, "2": 0.1},
    "old_imp": {"0": 0.2, "12": 0.1, "2": 0.5},
}
CONFLICT_BY_HAND = {
    "es": None,
    "ps": None,
    "es2": 1.0,
    "es2_alone": 0.0,
    "cs_exp": 1.0,
    "cs_exp_0": 0.0,
    "cs_exp_2": 1.0,
    "cs_exp_lift": 1.0,
}


def test_reverse_by_hand() -> None:
    metrics = compute_metrics("reverse", scores(**REVERSE))
    assert metrics == {
        **CONFLICT_BY_HAND,
        "cs_imp": 0.0,
        "cs_imp_0": 1.0,
        "cs_imp_2": 0.0,
        "cs_imp_lift": -1.0,
        "cs_same": 1.0,
        "cs_same_0": 0.0,
        "cs_same_2": 0.0,
        "cs_same_lift": 1.0,
        "cs_gain": None,
        "cs_gain_imp": None,
        "cm": pytest.approx(0.75),
        "cm_unclamped": pytest.approx(0.75),
    }


def test_a_gain_is_that_of_the_whole_object() -> None:
    """Three tokens that gain a factor of two each gain more than one that gains a factor of four."""
    before, after = {"old": 0.1, "new_exp": 0.1}, {"old": 0.4, "new_exp": 0.2}

    def gain(old: int | None, new: int | None) -> float | None:
        probes = [
            ProbeScore(fact, state, (values[fact],) * 2, tokens)
            for state, values in (("0", before), ("12", after))
            for fact, tokens in (("old", old), ("new_exp", new))
        ]
        return compute_metrics("reverse", probes)["cs_gain"]

    assert gain(1, 1) == 0.0
    assert gain(1, 3) == 1.0
    assert gain(3, 3) == 0.0
    assert gain(None, 3) is None, "an engine that counts no tokens"


def test_what_is_gone_altogether_is_not_unknown() -> None:
    """Means without it would leave out the best and the worst cases."""
    gone = [ProbeScore(fact, "0", (0.1, 0.1), 1) for fact in ("old", "new_exp")]
    gone += [ProbeScore("old", "12", (0.0, 0.0), 1), ProbeScore("new_exp", "12", (0.2, 0.2), 1)]
    assert compute_metrics("reverse", gone)["cs_gain"] == 1.0
    tied = [ProbeScore("tied", "0", (0.1, 0.1, 0.1)), ProbeScore("tied", "12", (0.0, 0.05, 0.1))]
    assert compute_metrics("composite", tied)["tied_log_ratio"] == pytest.approx(math.log(0.5))
    tied[1] = ProbeScore("tied", "12", (0.0, 0.0, 0.1))
    assert compute_metrics("composite", tied)["tied_log_ratio"] is None


def test_an_editor_that_does_nothing_has_no_lift() -> None:
    """Its conflict score is that of the model, and nothing else says so."""
    same = {name: dict.fromkeys(states, states["0"]) for name, states in REVERSE.items()}
    same["old"]["1"] = same["old"]["0"]
    metrics = compute_metrics("reverse", scores(1, **{**same, "new_exp": dict.fromkeys(("0", "12", "2"), 0.6)}))
    assert (metrics["cs_exp"], metrics["cs_exp_0"], metrics["cs_exp_lift"]) == (1.0, 1.0, 0.0)
    assert metrics["cs_gain"] == 0.0


def test_which_scores_length_may_decide() -> None:
    probes = [
        ProbeScore("old", "12", (0.1,), 2),
        ProbeScore("new_exp", "12", (0.1,), 1),
        ProbeScore("new_imp", "12", (0.1,), 2),
        ProbeScore("old_imp", "12", (0.1,), 1),
    ]
    assert unequal_tokens("reverse", probes) == ["cs_exp", "cs_exp_0", "cs_exp_2"]
    assert unequal_tokens("reverse", [ProbeScore("old", "12", (0.1,)), probes[1]]) == []


def test_log_probabilities_come_back_from_probability_and_tokens() -> None:
    assert ProbeScore("old", "1", (math.exp(-2.0), 0.0), 3).log_probabilities == (pytest.approx(-6.0), -math.inf)
    assert ProbeScore("old", "1", (0.5,)).log_probabilities is None


def test_a_growing_old_fact_is_cut_off_at_minus_one_only_in_cm() -> None:
    metrics = compute_metrics("reverse", scores(**{**REVERSE, "old": {"1": 0.1, "12": 0.5}}))
    assert metrics["cm"] == -1.0
    assert metrics["cm_unclamped"] == pytest.approx(-4.0)


def test_a_tie_is_no_win() -> None:
    tied = scores(old={"1": 0.4, "12": 0.2}, new_exp={"12": 0.2}, new_imp={"12": 0.2})
    assert compute_metrics("reverse", tied)["cs_exp"] == 0.0
    assert compute_metrics("reverse", tied)["cs_imp"] == 0.0


def test_composite_by_hand() -> None:
    metrics = compute_metrics("composite", scores(**REVERSE, tied={"0": 0.5, "1": 0.4, "12": 0.1, "2": 0.3}))
    assert metrics["tfd"] == pytest.approx(0.75)
    assert metrics["tfd_released"] == pytest.approx(0.8)
    assert metrics["tfd_edit1"] == pytest.approx(0.2)
    assert metrics["tied_log_ratio"] == pytest.approx(math.log(0.1 / 0.5))
    assert metrics["tied_log_ratio_edit1"] == pytest.approx(math.log(0.4 / 0.5))
    assert metrics["es2"] is None, "nothing asked what edit 2 replaces"
    assert compute_metrics("composite", scores(new_exp={"12": 0.2}, replaced_2={"12": 0.1}))["es2"] == 1.0


def test_a_tied_fact_that_edit_1_destroyed_is_seen() -> None:
    """TFD starts after edit 1: it says 0 there."""
    metrics = compute_metrics("composite", scores(**REVERSE, tied={"0": 0.5, "1": 0.001, "12": 0.001, "2": 0.5}))
    assert metrics["tfd"] == 0.0
    assert metrics["tfd_edit1"] == pytest.approx(0.998)
    assert metrics["tied_log_ratio_edit1"] == pytest.approx(math.log(0.002))


def test_coverage_by_hand() -> None:
    facts = {
        "old": {"0": 0.3, "1": 0.4, "12": 0.1, "2": 0.5},
        "replaced": {"2": 0.35},
        "new_exp": {"0": 0.1, "12": 0.2, "2": 0.4},
    }
    metrics = compute_metrics("coverage", scores(**facts))
    assert metrics == {
        **CONFLICT_BY_HAND,
        "cs_exp_2": 0.0,
        "succ": 1.0,  # against o1, as in the paper
        "succ_released": 0.0,  # against o2
        "cs_gain": None,
        "cm": pytest.approx(0.75),
        "cm_unclamped": pytest.approx(0.75),
    }


@pytest.mark.parametrize(
    ("kind", "written", "replaced"), [("reverse", "old", "replaced"), ("round", "new_object", "object")]
)
def test_edit_success_by_hand(kind: Any, written: str, replaced: str) -> None:
    """ES is the rewrite prompt alone, PS the share of the others; a tie is no win; the means do not matter."""

    def success(new: tuple[float, ...], true: tuple[float, ...]) -> tuple[float | None, float | None]:
        metrics = compute_metrics(kind, [ProbeScore(written, "1", new), ProbeScore(replaced, "1", true)])
        return metrics["es"], metrics["ps"]

    assert success((0.2, 0.3, 0.1, 0.2), (0.1, 0.2, 0.1, 0.9)) == (1.0, pytest.approx(1 / 3))
    assert success((0.1, 0.9), (0.1, 0.1)) == (0.0, 1.0)
    assert success((0.2,), (0.1,)) == (1.0, None), "there is no paraphrase"
    assert success((0.2, math.nan), (0.1, 0.1)) == (None, None)
    assert success((0.2, 0.2), (0.1,)) == (None, None)


ROUND = {
    "object": {"0": 0.2, "1": 0.1, "12": 0.8},
    "new_object": {"0": 0.01, "1": 0.6, "12": 0.9},
    "other_0": {"0": 0.1, "12": 0.1},
    "other_1": {"0": 0.1, "12": 0.05},
    "other_2": {"0": 0.1, "12": 0.05},
}


def test_round_by_hand() -> None:
    metrics = compute_metrics("round", scores(**ROUND))
    assert (metrics["es"], metrics["ps"]) == (1.0, 1.0)
    assert metrics["succ"] == 0.5, "o* wins after edit 1, o1 does not win it back"
    assert metrics["ir"] == pytest.approx(2 / 3)
    assert metrics["fr"] == 1.0
    # (.4, .2, .2, .2) against (.8, .1, .05, .05)
    p, q = (0.4, 0.2, 0.2, 0.2), (0.8, 0.1, 0.05, 0.05)
    m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    by_hand = sum(a * math.log(a / c) + b * math.log(b / c) for a, b, c in zip(p, q, m, strict=True)) / 2
    assert metrics["distortion"] == pytest.approx(by_hand)
    assert metrics["distortion_released"] == pytest.approx(by_hand / 4)
    assert metrics["ir_10"] == pytest.approx(2 / 3)
    assert metrics["mass_ratio"] == pytest.approx(1.0 / 0.5)
    assert metrics["mass_ratio_others"] == pytest.approx(0.2 / 0.3)


def test_a_loss_of_nothing_and_a_loss_of_everything_are_told_apart() -> None:
    """IR counts a loss of 1e-9, and D is 0 where all objects lose alike."""
    hair = {"12": 0.1 * (1 - 1e-9)}
    shaved = {**ROUND, **{f"other_{place}": {"0": 0.1, **hair} for place in range(3)}}
    metrics = compute_metrics("round", scores(**shaved))
    assert (metrics["ir"], metrics["ir_10"]) == (1.0, 0.0)
    drained = {
        name: {**states, "12": states["0"] / 1000} if name != "new_object" else states for name, states in ROUND.items()
    }
    metrics = compute_metrics("round", scores(**drained))
    assert metrics["distortion"] == pytest.approx(0.0, abs=1e-15)
    assert metrics["mass_ratio"] == pytest.approx(0.001)
    assert (metrics["ir_10"], metrics["mass_ratio_others"]) == (1.0, pytest.approx(0.001))


def test_exactly_half_is_no_failure() -> None:
    facts = {**ROUND, "other_1": {"0": 0.1, "12": 0.2}, "other_2": {"0": 0.1, "12": 0.05}}
    facts["other_3"] = {"0": 0.1, "12": 0.05}
    metrics = compute_metrics("round", scores(**facts))
    assert metrics["ir"] == 0.5
    assert metrics["fr"] == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_without_scores_everything_is_unknown(kind: Any) -> None:
    assert set(compute_metrics(kind, []).values()) == {None}


def test_a_lost_state_leaves_only_its_metrics_unknown() -> None:
    facts = {key: dict(value) for key, value in ROUND.items()}
    del facts["other_1"]["12"]
    metrics = compute_metrics("round", scores(**facts))
    assert metrics["succ"] == 0.5
    assert [metrics[name] for name in ("distortion", "distortion_released", "ir", "fr")] == [None] * 4


def test_division_by_zero_is_unknown() -> None:
    metrics = compute_metrics("reverse", scores(**{**REVERSE, "old": {"1": 0.0, "12": 0.1}}))
    assert metrics["cm"] is None
    assert metrics["cm_unclamped"] is None
    assert metrics["cs_exp"] == 1.0
    dead = {name: dict.fromkeys(states, 0.0) for name, states in ROUND.items()}
    assert compute_metrics("round", scores(**dead))["distortion"] is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.5])
def test_what_is_no_probability_is_unknown(value: float) -> None:
    assert fact_probabilities([ProbeScore("old", "1", (0.5, value))]) == {}
    assert fact_probabilities([ProbeScore("old", "1", ())]) == {}
    assert fact_probabilities([ProbeScore("old", "1", (0.5, 0.25))]) == {("old", "1"): 0.375}


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_answers_every_metric_of_its_kind(small_suite: Callable[[str], Any], kind: Any) -> None:
    case = load_suite(small_suite(kind).write()).cases[0]
    answers = [
        ProbeScore(
            probe.fact,
            probe.state,
            (3.0 if probe.measure == "perplexity" else 0.3,) * len(probe.inputs),
            2,
            probe.measure,
        )
        for probe in compile_case(case).probes
    ]
    metrics = compute_metrics(kind, answers)
    longer = {metric.name for metric in metrics_for(kind) if (metric.about or "").startswith("after ")}
    expected = [metric.name for metric in metrics_for(kind)]
    assert list(metrics) == [name for name in expected if name in metrics or name not in longer]
    assert None not in metrics.values()


def test_what_edits_leave_and_what_follows() -> None:
    """Worked out by hand: two neighbours, one lost; three conclusions, one known before; a sibling and other facts."""
    values = {
        ("new", "0"): 0.1, ("new", "1"): 0.8, ("true", "0"): 0.6, ("true", "1"): 0.2,
        ("neighbour:0", "0"): 0.5, ("neighbour:0", "1"): 0.25, ("neighbour_new:0", "0"): 0.1,
        ("neighbour_new:0", "1"): 0.2, ("neighbour:1", "0"): 0.4, ("neighbour:1", "1"): 0.1,
        ("neighbour_new:1", "0"): 0.3, ("neighbour_new:1", "1"): 0.3,
        ("conclusion:0", "0"): 0.1, ("conclusion:0", "1"): 0.4, ("conclusion_old:0", "0"): 0.5,
        ("conclusion_old:0", "1"): 0.3, ("conclusion:1", "0"): 0.6, ("conclusion:1", "1"): 0.6,
        ("conclusion_old:1", "0"): 0.5, ("conclusion_old:1", "1"): 0.5, ("conclusion:2", "0"): 0.1,
        ("conclusion:2", "1"): 0.2, ("conclusion_old:2", "0"): 0.5, ("conclusion_old:2", "1"): 0.2,
        ("sibling:0", "0"): 0.5, ("sibling:0", "1"): 0.45, ("sibling:1", "0"): 0.5, ("sibling:1", "1"): 0.44,
        ("other:0", "0"): 0.4, ("other:0", "1"): 0.1,
    }  # fmt: skip
    metrics = compute_metrics("edits", [ProbeScore(*key, (value, value), 1) for key, value in values.items()])
    assert metrics["es"] == 1.0
    assert metrics["ps"] == 1.0
    assert metrics["neighbours_kept"] == 0.5
    assert metrics["neighbours_kept_0"] == 1.0
    assert metrics["neighbours_kept_lift"] == -0.5
    assert metrics["neighbours_log_ratio"] == pytest.approx((math.log(0.5) + math.log(0.25)) / 2)
    assert metrics["conclusions"] == pytest.approx(2 / 3)  # a tie is not a win
    assert metrics["conclusions_0"] == pytest.approx(1 / 3)
    assert metrics["conclusions_lift"] == pytest.approx(1 / 3)
    assert metrics["siblings_kept"] == 0.5
    assert metrics["others_kept"] == 0.0
    assert metrics["others_log_ratio"] == pytest.approx(math.log(0.25))
    assert not metrics.keys() & {"inverses", "inverses_lift", "expectations", "ties_kept", "ties_log_ratio"}


def test_an_unknown_probability_makes_a_share_unknown_and_does_not_take_it_away() -> None:
    values = {("neighbour:0", "1"): 0.5, ("neighbour_new:0", "1"): math.nan, ("sibling:0", "0"): 0.5}
    metrics = compute_metrics("edits", [ProbeScore(*key, (value,), 1) for key, value in values.items()])
    assert metrics["neighbours_kept"] is None
    assert metrics["siblings_kept"] is None


probability = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 5e-324, math.nan, math.inf, -1.0]))


FACTS = (
    "old", "replaced", "replaced_2", "new_exp", "new_imp", "old_imp", "tied",
    "object", "new_object", "other:0", "other:1",
    "new", "true", "sibling:0", "tie:0", "neighbour:0", "neighbour_new:0", "inverse:0", "inverse_old:0",
    "conclusion:0", "conclusion_old:0", "conclusion:1", "conclusion_old:1", "expectation:0", "expectation_old:0",
)  # fmt: skip


@given(
    kind=st.sampled_from(KINDS),
    values=st.dictionaries(
        st.tuples(
            st.sampled_from(FACTS),
            st.sampled_from(["0", "1", "12", "2"]),
        ),
        st.lists(probability, max_size=3),
    ),
    tokens=st.none() | st.integers(1, 9),
)
def test_every_value_is_in_its_range_or_unknown(
    kind: Any, values: dict[tuple[str, str], list[float]], tokens: int | None
) -> None:
    metrics = compute_metrics(kind, [ProbeScore(*key, tuple(value), tokens) for key, value in values.items()])
    for name, value in metrics.items():
        metric = metric_of(kind, name)
        assert metric is not None
        if value is None:
            continue
        assert math.isfinite(value)
        assert value <= metric.high
        assert metric.low is None or value >= metric.low
        if metric.is_binary:
            assert value in (0.0, 1.0)


weights = st.lists(st.tuples(st.floats(1e-9, 1), st.floats(1e-9, 1)), min_size=2, max_size=10)


@given(pairs=weights, scale=st.floats(1e-3, 1e3))
def test_jensen_shannon_agrees_with_scipy(pairs: list[tuple[float, float]], scale: float) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    ours = jensen_shannon(first, second)
    assert ours is not None
    p, q = np.array(first) / sum(first), np.array(second) / sum(second)
    middle = (p + q) / 2
    assert ours == pytest.approx(float(rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / 2, abs=1e-12)
    assert jensen_shannon(second, first) == pytest.approx(ours, abs=1e-12)
    assert jensen_shannon([scale * a for a in first], second) == pytest.approx(ours, abs=1e-12)
    assert jensen_shannon(first, first) == pytest.approx(0.0, abs=1e-15)


def test_jensen_shannon_extremes() -> None:
    assert jensen_shannon([1.0, 0.0], [0.0, 1.0]) == pytest.approx(math.log(2))
    assert jensen_shannon([0.0, 0.0], [0.5, 0.5]) is None
    assert jensen_shannon([1.0], [0.5, 0.5]) is None


def test_specs_are_complete() -> None:
    scored = {f"cs_{score}{form}" for score in ("exp", "imp", "same") for form in ("", "_0", "_2", "_lift")}
    expected = scored | {
        "es", "ps", "es2", "es2_alone", "cs_gain", "cs_gain_imp", "cm", "cm_unclamped",
        "tfd", "tfd_released", "tfd_edit1", "tied_log_ratio", "tied_log_ratio_edit1", "succ", "succ_released",
        "distortion", "distortion_released", "ir", "ir_10", "fr", "mass_ratio", "mass_ratio_others",
    }  # fmt: skip
    shares = ("neighbours_kept", "inverses", "conclusions", "expectations")
    expected |= {f"{share}{form}" for share in shares for form in ("", "_0", "_lift")}
    expected |= {f"{sort}_{form}" for sort in ("siblings", "others", "ties") for form in ("kept", "log_ratio")}
    expected.add("neighbours_log_ratio")
    assert {metric.name for kind in ONE_PAGE for metric in metrics_for(kind)} == expected
    for name in METRICS:
        metric = METRICS.get(name)
        assert metric.name == name
        assert metric.title
        assert metric.definition
        assert metric.source
    binary = {(kind, metric.name) for kind in ONE_PAGE for metric in metrics_for(kind) if metric.is_binary}
    assert binary == {
        *((kind, "es") for kind in ONE_PAGE),
        *((kind, name) for kind in ("reverse", "composite", "coverage") for name in ("es2", "es2_alone", "cs_gain")),
        *((kind, f"cs_exp{state}") for kind in ("reverse", "composite", "coverage") for state in ("", "_0", "_2")),
        *((kind, f"cs_imp{state}") for kind in ("reverse", "composite") for state in ("", "_0", "_2")),
        *((kind, f"cs_same{state}") for kind in ("reverse", "composite") for state in ("", "_0", "_2")),
        *((kind, "cs_gain_imp") for kind in ("reverse", "composite")),
        ("coverage", "succ"),
        ("coverage", "succ_released"),
        ("round", "fr"),
    }
