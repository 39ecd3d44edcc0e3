"""Scores with controls: what a kind of somebody's own may say of them, and what is refused."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import (
    METRICS,
    PITFALLS,
    Case,
    Metric,
    compile_case,
    compute_metrics,
    metrics_for,
    score_with_controls,
)
from pytest_editpitfalls.pitfalls.coverage import Coverage
from pytest_editpitfalls.program import ProbeScore
from pytest_editpitfalls.suites import load_suite


@pytest.fixture(autouse=True)
def only_what_ships() -> Iterator[None]:
    yield
    PITFALLS.forget_added()


def kind_with(*metrics: Metric) -> type[Coverage]:
    return type("Mine", (Coverage,), {"name": "mine", "metrics": (*Coverage.metrics, *metrics)})


def test_every_conflict_score_names_its_control_and_its_lift() -> None:
    """A score that holds two facts against each other after both edits has both, so that tables can show them."""
    for kind in ("reverse", "composite", "coverage"):
        names = {metric.name for metric in metrics_for(kind)}
        scores = [metric for metric in metrics_for(kind) if metric.name in {"cs_exp", "cs_imp", "cs_same"}]
        assert len(scores) == (1 if kind == "coverage" else 3)
        for score in scores:
            assert score.control == f"{score.name}_0"
            assert score.lift == f"{score.name}_lift"
            assert {score.control, score.lift} <= names
            assert score.compares is not None
    assert all(metric.control is None and metric.lift is None for metric in metrics_for("round"))


LATER = [kind.name for kind in PITFALLS if kind.topic.name in ("spread", "lifelong", "said")]


def unedited(case: Case, seed: int) -> list[ProbeScore]:
    """Scores of a case on some model that nobody edited: in every state what it was in state 0."""
    scores = []
    for probe in compile_case(case).probes:
        draw = random.Random(f"{seed} {probe.fact}")
        values = {
            "probability": [draw.random() for _ in probe.inputs],
            "said": [float(draw.random() < 0.5) for _ in probe.inputs],
            "perplexity": [1.0 + 50.0 * draw.random() for _ in probe.inputs],
            "divergence": [0.0 for _ in probe.inputs],
        }[probe.measure]
        scores.append(ProbeScore(probe.fact, probe.state, tuple(values), 1, probe.measure))
    return scores


@pytest.mark.parametrize("kind", LATER)
def test_a_metric_without_a_control_says_the_same_of_every_unedited_model(
    small_suite: Callable[[str], Any], kind: str
) -> None:
    """So that it needs none: p0 is in it. Edit success has none either; docs/metrics.md says why."""
    metrics = metrics_for(kind)
    beside = {name for metric in metrics for name in (metric.control, metric.lift)}
    alone = {metric.name for metric in metrics if metric.control is None} - beside - {"es", "ps"}
    for metric in metrics:
        assert metric.lift is not None or metric.control is None or metric.name == "perplexity"
    case = load_suite(small_suite(kind).write()).cases[0]
    found = [compute_metrics(kind, unedited(case, seed)) for seed in range(20)]
    for name in alone & found[0].keys():
        # a ratio of products is 1 but for its last bit
        assert {round(value, 12) for each in found if (value := each[name]) is not None} in ({0.0}, {1.0}, {8.0}), name
    for metric in metrics:
        if metric.lift in found[0]:
            assert {each[metric.lift] for each in found} == {0.0}, metric.lift


def test_a_kind_of_ones_own_may_have_some() -> None:
    wins = score_with_controls("wins", "Wins", "new_exp", "old", definition="d", source="s", question="q")
    PITFALLS.add(kind_with(*wins), origin="a test")
    assert METRICS.get("wins").lift == "wins_lift"
    assert (METRICS.get("wins_lift").low, METRICS.get("wins_lift").high) == (-1.0, 1.0)


@pytest.mark.parametrize("field", ["control", "lift"])
def test_a_control_that_is_no_metric_is_refused(field: str) -> None:
    score, *_ = score_with_controls("wins", "Wins", "new_exp", "old", definition="d", source="s", question="q")
    plain = dataclasses.replace(score, control=None, lift=None)
    wrong = dataclasses.replace(plain, **{field: "wins_before"})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'wins' of 'mine' names 'wins_before', which is no metric of it"):
        PITFALLS.add(kind_with(wrong), origin="a test")
