"""Append and round trips: what they ask, what their rows refuse, and their metrics on numbers worked out by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import compile_case, compute_metrics, jensen_shannon, pitfall_of
from pytest_editpitfalls.program import EditRequest, ProbeScore
from pytest_editpitfalls.suites import load_suite
from pytest_editpitfalls.verdicts.thresholds import judge, parse_threshold

Make = Callable[[str], Any]


def metrics_of(kind: str, values: Mapping[tuple[str, str], float]) -> dict[str, float | None]:
    return compute_metrics(kind, [ProbeScore(*key, (value, value), 1) for key, value in values.items()])


def passes(kind: str, metrics: dict[str, float | None]) -> bool:
    return judge(metrics, tuple(parse_threshold(text) for text in pitfall_of(kind).thresholds)).passed is True


def logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_append_asks_for_true_and_false_objects(small_suite: Make) -> None:
    program = compile_case(load_suite(small_suite("append").write()).cases[0])
    asked = {(probe.fact, probe.state, probe.target) for probe in program.probes}
    expected = {"new": "fish", "object": "tree", "other:0": "plant", "false:0": "metal", "false:1": "tool"}
    assert asked == {(name, state, target) for name, target in expected.items() for state in "01"}
    assert {probe.prompts[0] for probe in program.probes} == {"oak is a kind of"}
    assert [question.name for question in program.held] == ["edit1", "other:0"]


# before, all is in order; after, the added object is first, one true object fell behind a false one
APPENDED = {
    ("new", "0"): 0.1, ("new", "1"): 0.8, ("object", "0"): 0.5, ("object", "1"): 0.4,
    ("other:0", "0"): 0.5, ("other:0", "1"): 0.2,
    ("false:0", "0"): 0.2, ("false:0", "1"): 0.3, ("false:1", "0"): 0.1, ("false:1", "1"): 0.1,
}  # fmt: skip


def test_append_by_hand() -> None:
    metrics = metrics_of("append", APPENDED)
    assert (metrics["joins"], metrics["joins_0"], metrics["joins_lift"]) == (1.0, 0.0, 1.0)
    assert (metrics["true_kept"], metrics["true_kept_0"], metrics["true_kept_lift"]) == (0.5, 1.0, -0.5)
    rff = logistic(0.2) / (logistic(0.4) + logistic(0.2))
    assert metrics["aff_0"] == 0.0
    assert metrics["aff"] == metrics["aff_lift"] == pytest.approx(1 - (1 - rff) * (0.4 + 0.2) / (0.5 + 0.5))
    rnf = logistic(0.3) / (logistic(0.3) + logistic(0.1))
    assert metrics["anf_0"] == 0.0
    assert metrics["anf"] == pytest.approx(1 - (1 - rnf) * (0.2 + 0.1) / (0.3 + 0.1))
    assert passes("append", metrics)
    assert not passes("append", metrics_of("append", {**APPENDED, ("object", "1"): 0.1})), "no true object is kept"
    assert not passes("append", metrics_of("append", {**APPENDED, ("new", "1"): 0.25})), "the new one does not join"


p = st.floats(1e-6, 1.0)


@given(true=st.lists(p, min_size=1, max_size=4), false=st.lists(p, min_size=1, max_size=4), gain=st.floats(1.0, 9.0))
def test_more_of_what_is_true_and_less_of_what_is_false_is_no_loss(
    true: list[float], false: list[float], gain: float
) -> None:
    """AFF and ANF are those before the edit, and never fall outside 0 to 1."""
    names = ["object", *(f"other:{place}" for place in range(len(true) - 1))]
    values = {(name, "0"): value for name, value in zip(names, true, strict=True)}
    values |= {(f"false:{place}", "0"): value for place, value in enumerate(false)}
    values |= {
        (name, "1"): value / gain if name.startswith("false") else value for (name, _), value in list(values.items())
    }
    metrics = metrics_of("append", values)
    for name in ("aff", "anf"):
        assert metrics[name] is not None
        assert 0.0 <= metrics[name] <= metrics[f"{name}_0"] + 1e-12 <= 1.0 + 1e-12


def test_round_trips_are_chains_of_edits(small_suite: Make) -> None:
    program = compile_case(load_suite(small_suite("round_trips").write()).cases[0])
    away = (EditRequest("{} is a kind of", "oak", "fish", "tree", "P279"),)
    back = (EditRequest("{} is a kind of", "oak", "tree", "fish", "P279"),)
    assert program.steps == (away, back) * 8
    assert {state.name: len(state.steps) for state in program.states} == {
        "0": 0, "1": 1, "1 trip": 2, "2 trips": 4, "4 trips": 8, "8 trips": 16,
    }  # fmt: skip
    assert all(state.steps == tuple(range(len(state.steps))) for state in program.states)
    assert {probe.fact for probe in program.probes} == {"object", "new_object", "other:0", "also:0"}
    assert [question.name for question in program.held] == ["edit1", "other:0"]


def trips(**after: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """Probabilities before, and after each number of trips."""
    states = {"0": {"object": 0.5, "other:0": 0.4, "other:1": 0.2, "also:0": 0.1}, **after}
    return {(name, state): value for state, values in states.items() for name, value in values.items()}


SAME = {"object": 0.5, "new_object": 0.1, "other:0": 0.4, "other:1": 0.2, "also:0": 0.1}
STATES = ("1 trip", "2 trips", "4 trips", "8 trips")


def test_how_many_trips_they_live() -> None:
    """One of two lives after two trips, none after four, and that they are back after eight is no survival."""
    after = {
        "1 trip": SAME,
        "2 trips": {**SAME, "other:0": 0.1},
        "4 trips": {**SAME, "other:0": 0.1, "other:1": 0.09},
        "8 trips": {**SAME, "new_object": 0.5},
    }
    metrics = metrics_of("round_trips", trips(**after))
    assert [metrics[f"trips_alive_{number}"] for number in (1, 2, 4, 8)] == [1.0, 0.5, 0.0, 1.0]
    assert metrics["trips_survived"] == 2.0
    assert metrics["trips_back"] == 0.75, "a tie is not a win"
    before = metrics_of("round_trips", {**trips(**after), ("new_object", "0"): 0.1})
    assert (before["trips_back_0"], before["trips_back_lift"]) == (1.0, -0.25)
    assert metrics["trips_distortion_1"] == 0.0
    assert metrics["trips_distortion_2"] == pytest.approx(jensen_shannon([0.5, 0.4, 0.2, 0.1], [0.5, 0.1, 0.2, 0.1]))
    assert metrics["trips_log_ratio_8"] == pytest.approx(0.0)
    assert not passes("round_trips", metrics)


def test_a_model_that_forgets_nothing_survives_all() -> None:
    metrics = metrics_of(
        "round_trips", {**trips(**dict.fromkeys(STATES, SAME)), ("new_object", "1"): 0.6, ("object", "1"): 0.1}
    )
    assert (metrics["es"], metrics["trips_survived"], metrics["trips_back"]) == (1.0, 8.0, 1.0)
    assert passes("round_trips", metrics)
    lost = {**SAME, "other:0": 0.0, "other:1": 0.0}
    metrics = metrics_of("round_trips", trips(**dict.fromkeys(STATES, lost)))
    assert (metrics["trips_survived"], metrics["trips_alive_8"]) == (0.0, 0.0)
    assert not passes("round_trips", metrics)


@pytest.mark.parametrize("kind", ["append", "round_trips"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"others": ["plant", "plant"]}, r"field others.1: 'plant' is named twice"),
        ({"also_true": ["tree"]}, r"field also_true.0: 'tree' is named twice"),
        ({"others": ["fish"]}, "named twice"),
        ({"others": []}, "field others"),
    ],
)
def test_every_object_is_named_once(small_suite: Make, kind: str, changes: dict[str, Any], message: str) -> None:
    suite = small_suite(kind)
    suite.lines[0].update(changes)
    with pytest.raises(UsageError) as raised:
        load_suite(suite.write())
    assert re.search(message, str(raised.value)), raised.value


def test_a_false_object_is_not_true(small_suite: Make) -> None:
    suite = small_suite("append")
    suite.lines[0]["false_objects"] = ["plant"]
    with pytest.raises(UsageError, match="named twice"):
        load_suite(suite.write())
