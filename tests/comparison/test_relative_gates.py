"""Gates on a drop since the baseline: how they are read, and that nothing unknown ever passes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comparison_samples import KINDS, case, metric_runs, run
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_editpitfalls.comparison.baseline import Baseline
from pytest_editpitfalls.comparison.pairing import compare
from pytest_editpitfalls.comparison.relative_gates import (
    RelativeGate,
    evaluate_relative_gates,
    is_relative,
    parse_relative_gate,
)
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.results import RunResults
from pytest_editpitfalls.results.aggregates import aggregate
from pytest_editpitfalls.results.comparison_records import RelativeGateRecord


def evaluate(text: str, comparison: Any, **options: Any) -> list[RelativeGateRecord]:
    gates = [parse_relative_gate(part, KINDS) for part in text.split()]
    return evaluate_relative_gates(gates, comparison, KINDS, **options)


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("reverse.cs_exp:2pp", ("reverse", "cs_exp", 2.0, "pp"), "reverse.cs_exp:2pp"),
        (" easy.distortion : 5 % ", ("easy", "distortion", 5.0, "%"), "easy.distortion:5%"),
        ("*.succ:0", ("*", "succ", 0.0, ""), "*.succ:0"),
        ("*.succ:0pp", ("*", "succ", 0.0, ""), "*.succ:0"),
        ("reverse.cm:.5pp", ("reverse", "cm", 0.5, "pp"), "reverse.cm:0.5pp"),
        ("composite.tfd:150%", ("composite", "tfd", 150.0, "%"), "composite.tfd:150%"),
    ],
)
def test_forms(text: str, expected: tuple[Any, ...], shown: str) -> None:
    gate = parse_relative_gate(text, KINDS)
    assert gate == RelativeGate(*expected)
    assert str(gate) == shown
    assert parse_relative_gate(shown, KINDS) == gate
    assert is_relative(text)


def test_suites_with_dots_and_colons() -> None:
    kinds: dict[str, Any] = {"my.suite": "reverse", "a:b": "reverse"}
    assert parse_relative_gate("my.suite.cm:1pp", kinds).suite == "my.suite"
    assert parse_relative_gate("a:b.cm:1pp", kinds).suite == "a:b"
    assert not is_relative("reverse.cs_exp >= 0.6")
    assert not is_relative("reverse.cs_exp")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no relative gate"),
        ("reverse.cs_exp", "no relative gate"),
        ("cs_exp:2pp", "no relative gate"),
        (".cs_exp:2pp", "no relative gate"),
        ("reverse.:2pp", "no relative gate"),
        ("reverse.cs_exp:", "is no margin"),
        ("reverse.cs_exp:2", "is no margin"),
        ("reverse.cs_exp:-2pp", "is no margin"),
        ("reverse.cs_exp:nan", "is no margin"),
        ("reverse.cs_exp:nanpp", "is no margin"),
        ("reverse.cs_exp:inf%", "is no margin"),
        ("reverse.cs_exp:1e3pp", "is no margin"),
        ("reverse.cs_exp:2 percent", "is no margin"),
        ("reverse.cs_epx:2pp", "did you mean 'cs_exp'"),
        ("revers.cs_exp:2pp", "did you mean 'reverse'"),
        ("easy.cs_exp:2pp", "a round suite has no metric 'cs_exp'"),
        ("reverse.cs_exp:100pp", "never be exceeded"),
        ("reverse.cs_exp:100%", "never be exceeded"),
        ("easy.distortion:70pp", "never be exceeded"),
        (f"reverse.cs_exp:{'9' * 400}%", "never be exceeded"),
    ],
)
def test_other_forms_are_refused(text: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_relative_gate(text, KINDS, where="--pitfalls-fail-on")
    assert what in str(caught.value)
    assert caught.value.where == "--pitfalls-fail-on"


@pytest.mark.parametrize("suite", ["same_subject", "*"])
def test_where_nothing_is_worse_there_is_no_gate(suite: str) -> None:
    """What an edit may change as well as leave has no direction: a fall is nobody's loss."""
    with pytest.raises(UsageError, match="neither more nor less of 'related_kept' is better") as caught:
        parse_relative_gate(f"{suite}.related_kept:2pp", KINDS)
    assert f"'{suite}.related_kept >= 0.5'" in str(caught.value)
    assert parse_relative_gate(f"{suite}.others_kept:2pp", KINDS).metric == "others_kept"


def test_a_star_needs_a_suite_with_the_metric() -> None:
    with pytest.raises(UsageError, match="no suite has the metric 'tfd'"):
        parse_relative_gate("*.tfd:2pp", {"reverse": "reverse"})


@given(text=st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        gate = parse_relative_gate(text, KINDS)
    except UsageError:
        return
    assert parse_relative_gate(str(gate), KINDS) == gate


def test_the_verdicts() -> None:
    there = [1.0] * 60
    (fell,) = evaluate("reverse.cs_exp:2pp", metric_runs("cs_exp", there, [0.0] * 15 + [1.0] * 45))
    assert (fell.verdict, fell.passed, fell.method) == ("fail", False, "exact")
    assert (fell.base, fell.now, fell.drop, fell.margin) == (1.0, 0.75, 0.25, 0.02)
    assert (fell.worse, fell.better, fell.n, fell.clusters) == (15, 0, 60, 60)
    assert fell.mcnemar_p == pytest.approx(2 * 0.5**15)
    assert fell.p is not None
    assert fell.p < 0.001
    assert fell.upper is not None
    assert fell.upper > 0.25
    assert "got worse by 0.25" in str(fell.reason)
    (same,) = evaluate("reverse.cs_exp:2pp", metric_runs("cs_exp", there, there))
    assert (same.verdict, same.passed, same.drop, same.upper, same.method) == (
        "pass",
        True,
        0.0,
        0.0,
        "identical",
    )
    assert same.detectable is not None
    assert same.detectable > 0.05  # 60 cases cannot see two points
    (unclear,) = evaluate("reverse.cs_exp:2pp", metric_runs("cs_exp", there, [0.0] * 3 + [1.0] * 57))
    assert (unclear.verdict, unclear.passed) == ("inconclusive", None)
    assert "not proven" in str(unclear.reason)
    (strict,) = evaluate("reverse.cs_exp:2pp", metric_runs("cs_exp", there, [0.0] * 3 + [1.0] * 57), strict=True)
    assert (strict.verdict, strict.passed) == ("inconclusive", False)
    (wide,) = evaluate("reverse.cs_exp:20pp", metric_runs("cs_exp", there, [0.0] * 3 + [1.0] * 57))
    assert (wide.verdict, wide.passed) == ("pass", True)


def test_a_margin_of_zero_fails_only_if_proven() -> None:
    there = [1.0] * 60
    for lost, verdict in ((0, "pass"), (2, "inconclusive"), (12, "fail")):
        (gate,) = evaluate("*.cs_exp:0", metric_runs("cs_exp", there, [0.0] * lost + [1.0] * (60 - lost)))
        assert gate.verdict == verdict


@pytest.mark.parametrize(("metric", "suite", "sign"), [("cm", "reverse", -1), ("distortion", "easy", 1)])
def test_the_direction_is_the_metrics_own(metric: str, suite: str, sign: int) -> None:
    there = [0.3 + 0.001 * place for place in range(60)]
    here = [value + sign * (0.1 + 0.001 * (place % 7)) for place, value in enumerate(there)]
    (worse,) = evaluate(f"{suite}.{metric}:2pp", metric_runs(metric, there, here, suite=suite))
    (better,) = evaluate(f"{suite}.{metric}:2pp", metric_runs(metric, here, there, suite=suite))
    assert (worse.verdict, better.verdict) == ("fail", "pass")
    assert worse.drop == pytest.approx(-(better.drop or 0.0))
    assert (worse.worse, worse.better, better.better) == (60, 0, 60)


def test_per_cent_is_of_the_baselines_value() -> None:
    values = [0.2, 0.4] * 30
    (gate,) = evaluate("easy.distortion:5%", metric_runs("distortion", values, values, suite="easy"))
    assert gate.margin == pytest.approx(0.015)
    negative = [-0.2, -0.4] * 30
    (below,) = evaluate("reverse.cm:5%", metric_runs("cm", negative, negative))
    assert below.margin == pytest.approx(0.015)


def test_per_cent_of_zero_is_never_a_pass() -> None:
    (gate,) = evaluate("easy.distortion:5%", metric_runs("distortion", [0.0] * 5, [0.0] * 5, suite="easy"))
    assert (gate.verdict, gate.passed) == ("not_evaluated", None)
    assert "of zero" in str(gate.reason)


@pytest.mark.parametrize(
    ("there", "here", "fields", "reason"),
    [
        ([None, None], [None, None], {}, "no case has a value of cs_exp on both sides"),
        ([1.0, 1.0], [1.0, None], {}, "1 case with a value of cs_exp in the baseline has none here"),
        ([1.0, 1.0], [None, None], {}, "2 cases with a value of cs_exp in the baseline have none here"),
        ([1.0, 1.0], [1.0, 1.0], {"outcome": ["passed", "error"]}, "1 case with a value"),
        ([1.0, 1.0], [1.0, 1.0], {"outcome": ["passed", "skipped"]}, "1 case with a value"),
    ],
)
def test_missing_values_are_never_a_pass(there: Any, here: Any, fields: Any, reason: str) -> None:
    base = [case(f"c{place}", {"cs_exp": value}) for place, value in enumerate(there)]
    outcomes = fields.get("outcome", ["passed"] * len(here))
    now = [
        case(f"c{place}", {"cs_exp": value}, outcome=outcome)
        for place, (value, outcome) in enumerate(zip(here, outcomes, strict=True))
    ]
    (gate,) = evaluate("reverse.cs_exp:2pp", compare(Baseline.of(run(base)), run(now)))
    assert (gate.verdict, gate.passed) == ("not_evaluated", None)
    assert reason in str(gate.reason)


def test_a_new_value_does_not_matter() -> None:
    (gate,) = evaluate("reverse.cs_exp:2pp", metric_runs("cs_exp", [1.0, None], [1.0, 0.0]))
    assert (gate.verdict, gate.n) == ("pass", 1)


def test_an_incomplete_suite_is_not_evaluated() -> None:
    base = Baseline.of(run([case("a", {"cs_exp": 1.0}), case("b", {"cs_exp": 1.0})]))
    now = run([case("a", {"cs_exp": 1.0})], limit=1)
    (gate,) = evaluate("reverse.cs_exp:2pp", compare(base, now))
    assert (gate.verdict, gate.reason) == ("not_evaluated", "1 case of the baseline was not selected")
    (part,) = evaluate("reverse.cs_exp:2pp", compare(base, now), part="shard 1/2")
    assert (part.verdict, part.reason) == ("not_evaluated", "shard 1/2")


def test_a_suite_that_did_not_run() -> None:
    comparison = metric_runs("cs_exp", [1.0], [1.0])
    (gate,) = evaluate("easy.succ:2pp", comparison)
    assert (gate.verdict, gate.editor, gate.model) == ("not_evaluated", None, None)
    assert gate.reason == "suite 'easy' has no cases in this run"
    (star,) = evaluate("*.succ:0", comparison)
    assert (star.suite, star.verdict, star.reason) == ("*", "not_evaluated", "no suite that has it ran")


def test_a_star_is_every_suite_editor_and_model_once() -> None:
    cases = [
        case("a", {"es": 1.0}, suite=suite, editor=editor)
        for suite in ("reverse", "easy")
        for editor in ("rome", "memit")
    ]
    comparison = compare(Baseline.of(run(cases)), run(cases))
    gates = evaluate("*.es:0 *.es:0 reverse.es:1pp", comparison)
    assert [(gate.gate, gate.suite, gate.editor) for gate in gates] == [
        ("*.es:0", "reverse", "rome"),
        ("*.es:0", "reverse", "memit"),
        ("*.es:0", "easy", "rome"),
        ("*.es:0", "easy", "memit"),
        ("reverse.es:1pp", "reverse", "rome"),
        ("reverse.es:1pp", "reverse", "memit"),
    ]
    assert {gate.verdict for gate in gates} == {"pass"}


def test_many_gates_need_more_proof() -> None:
    lost = [0.0] * 3 + [1.0] * 57
    (alone,) = evaluate("reverse.cs_exp:0", metric_runs("cs_exp", [1.0] * 60, lost))
    cases = [(f"c{place:02d}", {"cs_exp": 1.0, "cs_imp": 1.0, "es": 1.0, "ps": 1.0}) for place in range(60)]
    now = [(name, {**metrics, "cs_exp": lost[place]}) for place, (name, metrics) in enumerate(cases)]
    comparison = compare(Baseline.of(run([case(*item) for item in cases])), run([case(*item) for item in now]))
    first, *others = evaluate("reverse.cs_exp:0 reverse.cs_imp:0 reverse.es:0 reverse.ps:0", comparison)
    assert alone.verdict == "fail"
    assert alone.p == first.p == alone.p_holm
    assert first.p_holm == pytest.approx(4 * (first.p or 0.0))
    assert first.verdict == "inconclusive"
    assert {gate.p_holm for gate in others} == {1.0}
    assert alone.detectable is not None
    assert first.detectable is not None
    assert alone.detectable < first.detectable


def test_cases_of_one_subject_are_not_counted_as_many() -> None:
    there, here = [1.0] * 60, [0.0] * 10 + [1.0] * 50
    (apart,) = evaluate("reverse.cs_exp:2pp", metric_runs("cs_exp", there, here))
    subjects = ["one"] * 10 + [f"s{place}" for place in range(50)]
    (together,) = evaluate("reverse.cs_exp:2pp", metric_runs("cs_exp", there, here, subject=subjects))
    assert (apart.verdict, together.verdict) == ("fail", "inconclusive")
    assert (apart.clusters, together.clusters) == (60, 51)


def test_cases_without_a_subject_stand_alone() -> None:
    (gate,) = evaluate("reverse.cs_exp:2pp", metric_runs("cs_exp", [1.0] * 9, [1.0] * 9, subject=""))
    assert gate.clusters == 9


def test_an_unbounded_metric_with_few_subjects_stays_open() -> None:
    (gate,) = evaluate("reverse.cm_unclamped:2pp", metric_runs("cm_unclamped", [0.5] * 9, [-90.0] * 9))
    assert (gate.verdict, gate.upper, gate.detectable, gate.method) == ("inconclusive", None, None, "none")
    assert "9 subjects are too few" in str(gate.reason)


def test_the_order_of_cases_does_not_matter_and_the_seed_does() -> None:
    values = [0.3 + 0.01 * (place % 11) for place in range(60)]
    lower = [value - 0.02 - 0.004 * (place % 13) for place, value in enumerate(values)]
    comparison = metric_runs("cm", values, lower)
    turned = comparison.now.model_copy(update={"cases": comparison.now.cases[::-1]})
    one = evaluate("reverse.cm:4pp", comparison)
    assert one == evaluate("reverse.cm:4pp", compare(comparison.base, turned))
    assert one != evaluate("reverse.cm:4pp", comparison, seed=1)


def test_the_mark_of_unreliable_figures_does_not_change_the_verdict() -> None:
    cases = [case(f"c{place}", {"es": float(place == 0), "cs_exp": 1.0}) for place in range(9)]
    comparison = compare(Baseline.of(run(cases)), run(cases))
    (gate,) = evaluate("reverse.cs_exp:0", comparison, aggregates=aggregate(cases, KINDS))
    assert (gate.verdict, gate.reliable) == ("pass", False)


def test_a_gate_fails_where_no_edit_took() -> None:
    cases = [case(f"c{place}", {"es": 0.0, "cs_exp": 1.0}) for place in range(5)]
    comparison = compare(Baseline.of(run(cases)), run(cases))
    (gate,) = evaluate("reverse.cs_exp:0", comparison, aggregates=aggregate(cases, KINDS))
    assert (gate.verdict, gate.passed, gate.reason) == ("fail", False, "no edit took (es = 0 in 5 scored cases)")
    (gate,) = evaluate("reverse.es:0", comparison, aggregates=aggregate(cases, KINDS))
    assert gate.verdict == "pass"


METRIC_VALUES = st.one_of(st.none(), st.sampled_from([0.0, 1.0]))


@settings(max_examples=60, deadline=None)
@given(
    sides=st.lists(st.tuples(METRIC_VALUES, METRIC_VALUES), min_size=1, max_size=12),
    margin=st.sampled_from(["0", "2pp", "10%", "99pp"]),
)
def test_records_are_sound_whatever_the_values(sides: list[Any], margin: str) -> None:
    comparison = metric_runs("cs_exp", [there for there, _ in sides], [here for _, here in sides])
    (gate,) = evaluate(f"reverse.cs_exp:{margin}", comparison)
    lost = any(there is not None and here is None for there, here in sides)
    known = [(there, here) for there, here in sides if there is not None and here is not None]
    if lost or not known:
        assert gate.verdict == "not_evaluated"
    assert (gate.passed is True) == (gate.verdict == "pass")
    if gate.verdict == "pass":
        assert gate.upper is not None
        assert gate.margin is not None
        assert gate.upper <= gate.margin
    if gate.verdict == "fail":
        assert gate.drop is not None
        assert gate.drop > (gate.margin or 0.0)
    results = RunResults(run=comparison.now.run, relative_gates=[gate], comparison=comparison.record())
    text = results.model_dump_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert RunResults.model_validate_json(text) == results
