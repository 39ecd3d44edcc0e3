"""Scores with controls: what a kind of somebody's own may say of them, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import METRICS, PITFALLS, Metric, metrics_for, score_with_controls
from pytest_editpitfalls.pitfalls.coverage import Coverage


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
