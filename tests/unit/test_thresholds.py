"""Thresholds and gates: parsing, refusing, judging."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import PITFALLS
from pytest_editpitfalls.suites.discovery import shipped_suites
from pytest_editpitfalls.verdicts.thresholds import (
    OPERATORS,
    Gate,
    Threshold,
    hold,
    judge,
    parse_gate,
    parse_threshold,
    parse_thresholds,
)


@pytest.mark.parametrize(
    ("text", "threshold"),
    [
        ("cs_exp >= 1", Threshold("cs_exp", ">=", 1.0)),
        ("  cm>0.5 ", Threshold("cm", ">", 0.5)),
        ("tfd <= -2e1", Threshold("tfd", "<=", -20.0)),
        ("ir<.25", Threshold("ir", "<", 0.25)),
    ],
)
def test_parse(text: str, threshold: Threshold) -> None:
    assert parse_threshold(text) == threshold


@given(
    operator=st.sampled_from(sorted(OPERATORS)),
    bound=st.floats(0, 1).map(lambda value: round(value, 6)),
    value=st.floats(0, 1),
)
def test_what_is_printed_parses_back(operator: str, bound: float, value: float) -> None:
    threshold = Threshold("cs_exp", operator, bound)
    again = parse_threshold(str(threshold))
    assert (again.metric, again.operator) == ("cs_exp", operator)
    assert again.bound == pytest.approx(bound, rel=1e-5)
    result = hold(threshold, value)
    assert (result.passed is False) == (result.missed_by is not None)
    assert (
        result.passed is {">=": value >= bound, "<=": value <= bound, ">": value > bound, "<": value < bound}[operator]
    )


@pytest.mark.parametrize(
    ("text", "kind", "what", "fix"),
    [
        ("cs_exp", None, "'cs_exp' is no threshold", "'cs_exp >= 1'"),
        ("", None, "is no threshold", "write it like"),
        ("cs_exp = 1", None, "unknown comparison '='", ">="),
        ("cs_exp == 1", None, "unknown comparison '=='", ">="),
        ("cs_exp >= one", None, "'one' in 'cs_exp >= one' is no number", "0.6"),
        ("cs_exp >= nan", None, "is no number", "0.6"),
        ("cs_exp >= inf", None, "is no number", "0.6"),
        ("cs_exp >= 60%", None, "is no number", "0.6"),
        ("cs_exp >= 60", None, "outside the range of cs_exp, 0 to 1", "0.6, not 60"),
        ("cm >= -2", None, "outside the range of cm, -1 to 1", "fractions"),
        ("tfd <= 2", None, "outside the range of tfd, -inf to 1", "fractions"),
        ("cs_expl >= 1", None, "unknown metric 'cs_expl'", "did you mean 'cs_exp'?"),
        (
            "tfd <= 0.5",
            "reverse",
            "a reverse suite has no metric 'tfd'",
            "it has: es, ps, es2, es2_alone, cs_exp, cs_exp_0, cs_exp_2, cs_exp_lift, cs_imp",
        ),
        ("ir <= 0.5", "coverage", "a coverage suite has no metric 'ir'", "it has: es, ps, es2, es2_alone, succ"),
    ],
)
def test_a_wrong_threshold_is_refused(text: str, kind: Any, what: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_threshold(text, kind=kind, where="suite.toml, field thresholds")
    assert what in caught.value.what
    assert fix in str(caught.value.fix)
    assert caught.value.where == "suite.toml, field thresholds"


def test_gates() -> None:
    gate = parse_gate("reverse.cs_exp >= 0.6", shipped_suites())
    assert gate == Gate("reverse", Threshold("cs_exp", ">=", 0.6))
    assert str(gate) == "reverse.cs_exp >= 0.6"
    dotted = parse_gate("my.suite.ir <= 0.5", {"my.suite": "round"})
    assert dotted.suite == "my.suite"


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("cs_exp >= 0.6", "names no suite", "reverse.cs_exp"),
        ("revers.cs_exp >= 0.6", "unknown suite 'revers'", "did you mean 'reverse'?"),
        ("easy.cs_exp >= 0.6", "a round suite has no metric 'cs_exp'", "it has: es, ps, succ"),
        ("reverse.csexp >= 0.6", "unknown metric 'csexp'", "did you mean 'cs_exp'?"),
    ],
)
def test_a_wrong_gate_is_refused(text: str, what: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_gate(text, shipped_suites(), where="pitfalls_gates")
    assert what in caught.value.what
    assert fix in str(caught.value.fix)


def test_judge_names_what_fell_and_by_how_much() -> None:
    thresholds = parse_thresholds(["cs_exp >= 1", "cm >= 0.5"], kind="reverse")
    verdict = judge({"cs_exp": 1.0, "cm": 0.2}, thresholds)
    assert verdict.passed is False
    (fell,) = verdict.failed
    assert fell.missed_by == pytest.approx(0.3)
    assert str(fell) == "cm >= 0.5: failed, cm = 0.2, missed by 0.3"
    assert judge({"cs_exp": 1.0, "cm": 0.5}, thresholds).passed is True


@pytest.mark.parametrize("metrics", [{"cs_exp": 1.0, "cm": None}, {"cs_exp": 1.0}, {"cs_exp": 1.0, "cm": float("nan")}])
def test_an_unknown_metric_is_never_a_pass(metrics: dict[str, float | None]) -> None:
    thresholds = parse_thresholds(["cs_exp >= 1", "cm >= 0.5"], kind="reverse")
    verdict = judge(metrics, thresholds)
    assert verdict.passed is None
    assert [str(result) for result in verdict.not_evaluated] == ["cm >= 0.5: not evaluated, cm is unknown"]
    assert judge({**metrics, "cs_exp": 0.0}, thresholds).passed is False, "what fell outweighs what is unknown"


@pytest.mark.parametrize("kind", [kind.name for kind in PITFALLS])
def test_the_default_thresholds_are_valid(kind: Any) -> None:
    assert parse_thresholds(PITFALLS.get(kind).thresholds, kind=kind)
