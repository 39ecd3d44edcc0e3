"""Records, aggregates, gates and the file: complete, finite, whole or not at all."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import METRICS, compile_case, compute_metrics
from pytest_editpitfalls.program import CaseScores, ProbeScore
from pytest_editpitfalls.results import CaseRecord, RunResults, json_schema, read_results
from pytest_editpitfalls.results.aggregates import aggregate, summarise
from pytest_editpitfalls.results.build import case_record
from pytest_editpitfalls.results.gates import evaluate_gates
from pytest_editpitfalls.results.run_records import RunRecord
from pytest_editpitfalls.results.schema import schema_text
from pytest_editpitfalls.results.writer import write_results
from pytest_editpitfalls.suites import load_suite
from pytest_editpitfalls.suites.discovery import shipped_suites
from pytest_editpitfalls.verdicts.reliability import unreliable_reason
from pytest_editpitfalls.verdicts.thresholds import judge, parse_gate, parse_thresholds

ROOT = Path(__file__).resolve().parents[2]


def record(
    case_id: str,
    suite: str = "reverse",
    outcome: Any = "passed",
    *,
    subject: str = "",
    rule: str = "",
    **metrics: float | None,
) -> CaseRecord:
    return CaseRecord(
        id=case_id,
        source_index=0,
        suite=suite,
        editor="rome",
        model="m",
        rule=rule,
        subject=subject,
        outcome=outcome,
        metrics=metrics,
    )


def full_record(small_suite: Callable[[str], Any], probability: float = 0.25) -> CaseRecord:
    case = load_suite(small_suite("reverse").write()).cases[1]
    probes = tuple(
        ProbeScore(probe.fact, probe.state, (probability,) * len(probe.prompts)) for probe in compile_case(case).probes
    )
    scores = CaseScores(
        case.id, probes, held_parts={"edit1": True}, seconds=1.5, notes=("tiny divisor at edit 2: 0.001",)
    )
    verdict = judge(compute_metrics("reverse", probes), parse_thresholds(["cs_exp >= 1"], kind="reverse"))
    return case_record(case, scores, editor="rome", model="m", outcome="failed", verdict=verdict, reason="fell")


def test_a_case_record_in_full(small_suite: Callable[[str], Any]) -> None:
    result = full_record(small_suite)
    assert result.key == ("small", "rome", "m", "P36-0001")
    assert (result.source_index, result.outcome, result.held, result.cached) == (1, "failed", True, False)
    unknown = {"cs_gain", "cs_gain_imp"}  # nobody counted tokens
    assert set(result.metrics) > unknown
    assert {name: value for name, value in result.metrics.items() if name not in unknown} == dict.fromkeys(
        set(result.metrics) - unknown, 0.0
    )
    assert [(probe.fact, probe.state, len(probe.probabilities)) for probe in result.probes] == [
        *(("old", state, 11) for state in ("0", "1", "12", "2")),
        ("replaced", "1", 11),
        *((fact, state, 11) for fact in ("new_exp", "new_imp", "old_imp") for state in ("0", "12", "2")),
    ]
    (threshold,) = result.thresholds
    assert (threshold.threshold, threshold.passed, threshold.missed_by) == ("cs_exp >= 1", False, 1.0)
    assert result.notes == ["tiny divisor at edit 2: 0.001", "unknown: cs_gain, cs_gain_imp"]
    json.dumps(result.model_dump(mode="json"), allow_nan=False)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_becomes_null_and_a_note(small_suite: Callable[[str], Any], value: float) -> None:
    result = full_record(small_suite, value)
    assert set(result.metrics.values()) == {None}
    assert set(result.probes[0].probabilities) == {None}
    assert "154 probabilities are not finite and count as unknown" in result.notes
    assert result.notes[-1].startswith("unknown: es, ps, es2, es2_alone, cs_exp, cs_exp_0,")
    assert result.thresholds[0].passed is None
    json.loads(result.model_dump_json(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


@given(value=st.floats(), name=st.sampled_from(["seconds", "metric", "parameter"]))
def test_no_number_but_a_finite_one_reaches_json(value: float, name: str) -> None:
    results = RunResults(run=RunRecord(), cases=[record("a", cm=value if name == "metric" else 0.0)])
    if name == "seconds":
        results.cases[0].seconds = value
        results.run.timings = {"editing": value}
    if name == "parameter":
        results.run = RunRecord.model_validate(
            {"editors": [{"name": "rome", "model": "m", "hyper_parameters": {"v_lr": value}}]}
        )
    text = results.model_dump_json()
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))
    RunResults.model_validate_json(text)


def test_an_unscored_case_has_its_reason(small_suite: Callable[[str], Any]) -> None:
    case = load_suite(small_suite("round").write()).cases[0]
    scores = CaseScores(case.id, skipped="the target has no tokens")
    result = case_record(case, scores, editor="rome", model="m", outcome="skipped")
    assert result.reason == "the target has no tokens"
    assert result.metrics == {}
    assert result.probes == []


# Aggregates ---------------------------------------------------------------------------------------------------------


def test_metrics_that_are_known_are_taken(small_suite: Callable[[str], Any]) -> None:
    case = load_suite(small_suite("reverse").write()).cases[0]
    probes = tuple(ProbeScore(probe.fact, probe.state, (0.5,)) for probe in compile_case(case).probes)
    options: dict[str, Any] = {"editor": "rome", "model": "m", "outcome": "passed"}
    computed = case_record(case, CaseScores(case.id, probes), **options)
    known = compute_metrics("reverse", probes)
    assert case_record(case, CaseScores(case.id, probes), metrics=known, **options) == computed
    assert case_record(case, CaseScores(case.id), metrics=known, **options).metrics == {}


def test_skipped_and_broken_cases_do_not_count() -> None:
    cases = [
        record("a", cs_exp=1.0, cm=0.5),
        record("b", outcome="failed", cs_exp=0.0, cm=None),
        record("c", outcome="xfailed", cs_exp=1.0, cm=0.7),
        record("d", outcome="skipped"),
        record("e", outcome="error"),
    ]
    (result,) = aggregate(cases, shipped_suites())
    assert (result.suite, result.editor, result.model, result.n) == ("reverse", "rome", "m", 3)
    assert result.metrics["cs_exp"].n == 3
    assert result.metrics["cs_exp"].value == pytest.approx(2 / 3)
    assert (result.metrics["cs_exp"].low, result.metrics["cs_exp"].high) == pytest.approx((0.0943, 0.9916), abs=1e-4)
    assert result.metrics["cm"].n == 2
    assert result.metrics["cm"].value == pytest.approx(0.6)
    unknown = result.metrics["cs_imp"]
    assert (unknown.value, unknown.low, unknown.high, unknown.n) == (None, None, None, 0)


def test_groups_stay_apart() -> None:
    cases = [record("a", cs_exp=1.0), record("a", suite="coverage", cs_exp=0.0)]
    cases.append(cases[0].model_copy(update={"model": "other"}))
    groups = aggregate(cases, shipped_suites())
    assert [(group.suite, group.model, group.metrics["cs_exp"].value) for group in groups] == [
        ("reverse", "m", 1.0),
        ("coverage", "m", 0.0),
        ("reverse", "other", 1.0),
    ]


def test_one_value_says_little() -> None:
    cases = [record("a", cm=0.3), record("b", cm=None)]
    summary = summarise(METRICS.get("cm"), cases)
    assert (summary.value, summary.n) == (0.3, 1)
    assert summary.low is not None
    assert summary.high is not None
    assert summary.low < -0.9
    assert summary.high > 0.9


def test_intervals_are_by_subject_and_by_relation() -> None:
    """What four cases of one subject say is what one case says; other cases say more."""
    one = [record(f"a{place}", subject="Zambia", rule="P47", cs_exp=1.0) for place in range(4)]
    own = [record(f"b{place}", subject=f"s{place}", rule=f"P{place % 2}", cs_exp=1.0) for place in range(4)]
    alike, apart = (aggregate(cases, shipped_suites())[0].metrics["cs_exp"] for cases in (one, own))
    assert (alike.low, alike.clusters, alike.effective, alike.n) == (pytest.approx(0.025), 1, 1.0, 4)
    assert (apart.low, apart.clusters, apart.effective, apart.n) == (pytest.approx(0.025**0.25), 4, 4.0, 4)
    assert apart.by_relation is not None
    assert (apart.by_relation.low, apart.by_relation.clusters) == (pytest.approx(0.025**0.5), 2)
    nameless = aggregate([record("a", cs_exp=1.0), record("b", cs_exp=1.0)], shipped_suites())[0].metrics["cs_exp"]
    assert (nameless.clusters, nameless.by_relation) == (2, None)


def test_an_interval_that_is_open_says_why() -> None:
    cases = [record(f"a{place}", cm_unclamped=value) for place, value in enumerate([0.5, -2.0, 0.1, 0.3])]
    summary = aggregate(cases, shipped_suites())[0].metrics["cm_unclamped"]
    assert (summary.low, summary.method) == (None, "open")
    assert summary.high is not None
    assert "4 independent cases are too few" in (summary.reason or "")


def test_the_order_of_cases_changes_no_interval() -> None:
    cases = [
        record(f"c{place}", subject=f"s{place % 7}", rule=f"P{place % 3}", cm=math.sin(place), es=float(place % 4 > 0))
        for place in range(40)
    ]
    assert aggregate(cases, shipped_suites())[0].metrics == aggregate(cases[::-1], shipped_suites())[0].metrics


@pytest.mark.parametrize(
    ("values", "floor", "reliable"),
    [
        ([1.0, 0.0] * 40, 0.7, False),
        ([1.0, 0.0] * 40, 0.3, True),
        ([1.0, 0.0] * 40, 0.5, None),
        ([1.0, 0.0], 0.7, None),
        ([0.0, 0.0, None], 0.0, True),
        ([None], 0.7, None),
        ([], 0.7, None),
    ],
)
def test_figures_of_an_editor_that_hardly_edits_are_marked(
    values: list[float | None], floor: float, reliable: bool | None
) -> None:
    cases = [record("skipped", outcome="skipped")]
    cases += [record(f"c{place}", es=value, cs_exp=1.0) for place, value in enumerate(values)]
    (result,) = aggregate(cases, shipped_suites(), success_floor=floor)
    assert result.reliable is reliable
    assert result.metrics["cs_exp"] == aggregate(cases, shipped_suites())[0].metrics["cs_exp"]
    if not any(value is not None for value in values):
        assert result.reliable_reason == "edit success is unknown: no case has a value of es"
    elif reliable is None and floor > 0.5:
        assert result.reliable_reason == (
            "rome on m edits 50 % of its facts in reverse, too few cases to tell whether that is over or under the "
            f"floor of {100 * floor:.0f} %: its conflict figures may say little"
        )
    elif reliable is not False:
        assert result.reliable_reason is None
    else:
        assert result.reliable_reason == (
            f"rome on m edits 50 % of its facts in reverse (floor {100 * floor:.0f} %): its conflict figures say little"
        )


def test_the_reason_names_the_kind_and_every_suite() -> None:
    assert unreliable_reason("memit", "m", {"easy": 0.345, "hard": 0.0}, 0.7, figures="distortion") == (
        "memit on m edits 34.5 % of its facts in easy, 0 % in hard (floor 70 %): its distortion figures say little"
    )


def test_a_gate_over_unreliable_figures_decides_as_before() -> None:
    cases = [record("a", es=1.0, cs_exp=1.0), *(record(f"b{place}", es=0.0, cs_exp=1.0) for place in range(9))]
    gates = [parse_gate(text, shipped_suites()) for text in ("reverse.cs_exp >= 1", "reverse.es >= 0.5")]
    results = evaluate_gates(gates, aggregate(cases, shipped_suites()))
    assert [(gate.passed, gate.reliable) for gate in results] == [(True, False), (False, False)]


# Gates --------------------------------------------------------------------------------------------------------------


def test_gates_hold_the_value_of_each_aggregate() -> None:
    cases = [record("a", cs_exp=1.0, cm=0.4), record("b", cs_exp=0.0, cm=0.6)]
    gates = [parse_gate(text, shipped_suites()) for text in ("reverse.cs_exp >= 0.5", "reverse.cm > 0.6")]
    passed, fell = evaluate_gates(gates, aggregate(cases, shipped_suites()))
    assert (passed.gate, passed.passed, passed.value, passed.reason) == (
        "reverse.cs_exp >= 0.5",
        True,
        0.5,
        None,
    )
    assert (passed.editor, passed.model, passed.bound) == ("rome", "m", 0.5)
    assert passed.low is not None
    assert fell.passed is False
    assert fell.reason == "cm > 0.6: failed, cm = 0.5, missed by 0.1"


@pytest.mark.parametrize(
    ("cases", "reason"),
    [
        ([], "suite 'reverse' has no cases in this run"),
        ([record("a", outcome="skipped")], "cs_exp is unknown: 0 scored cases, none of them with a value"),
        ([record("a", cs_exp=None)], "cs_exp is unknown: 1 scored case, none of them with a value"),
    ],
)
def test_a_gate_without_values_is_never_a_pass(cases: list[CaseRecord], reason: str) -> None:
    (result,) = evaluate_gates(
        [parse_gate("reverse.cs_exp >= 0", shipped_suites())], aggregate(cases, shipped_suites())
    )
    assert result.passed is None
    assert result.reason == reason


# File and schema ----------------------------------------------------------------------------------------------------


def results(small_suite: Callable[[str], Any]) -> RunResults:
    case = full_record(small_suite)
    kinds: dict[str, Any] = {"small": "reverse"}
    aggregates = aggregate([case], kinds)
    return RunResults(
        run=RunRecord(seed=3, versions={"torch": "2"}),
        cases=[case],
        aggregates=aggregates,
        gates=evaluate_gates([parse_gate("small.cs_exp >= 0.5", kinds)], aggregates),
    )


def test_the_file_comes_back_and_fits_its_schema(small_suite: Callable[[str], Any], tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    written = results(small_suite)
    write_results(written, path)
    assert read_results(path) == read_results(str(path)) == written
    document = json.loads(path.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.validate(document, json_schema())
    assert document["schema_version"] == 1
    assert set(document) == {
        "schema_version",
        "run",
        "cases",
        "aggregates",
        "held_aggregates",
        "by_seed",
        "by_strength",
        "gates",
        "properties",
        "relative_gates",
        "comparison",
        "reasons",
    }
    for change in ("outcome", "editor"):
        broken = json.loads(path.read_text("utf-8"))
        broken["cases"][0][change] = 7
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, json_schema())


def test_the_documented_schema_is_current() -> None:
    documented = (ROOT / "docs" / "results.schema.json").read_text("utf-8")
    assert documented == schema_text(), "run: python -m pytest_editpitfalls.results.schema > docs/results.schema.json"


def test_a_failed_write_leaves_the_earlier_file(
    small_suite: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out" / "results.json"
    target.parent.mkdir()
    target.write_text("earlier", "utf-8")

    def fail(source: object, destination: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UsageError, match="No space left on device"):
        write_results(results(small_suite), target)
    assert target.read_text("utf-8") == "earlier"
    assert [entry.name for entry in target.parent.iterdir()] == ["results.json"]


def test_the_file_has_usual_permissions(small_suite: Callable[[str], Any], tmp_path: Path) -> None:
    plain = tmp_path / "plain.json"
    plain.touch()
    write_results(results(small_suite), tmp_path / "results.json")
    assert stat.S_IMODE((tmp_path / "results.json").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "not valid JSON"),
        ('{"schema_version": 2, "run": {}}', "has to be 1"),
        ('{"run": {"sead": 1}}', "did you mean 'seed'"),
        ('{"run": {}, "cases": [{"id": "a"}]}', "is missing"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: str, what: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content, "utf-8")
    with pytest.raises(UsageError) as caught:
        read_results(path)
    assert what in str(caught.value)
