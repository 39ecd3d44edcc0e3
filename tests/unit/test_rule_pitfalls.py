"""Ripple and deduction: what they ask, what their rows refuse, and their metrics on numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import compile_case, compute_metrics, pitfall_of
from pytest_editpitfalls.program import EditRequest, ProbeScore
from pytest_editpitfalls.suites import load_suite
from pytest_editpitfalls.verdicts.thresholds import judge, parse_threshold

Make = Callable[[str], Any]


def metrics_of(kind: str, values: Mapping[tuple[str, str], float]) -> dict[str, float | None]:
    """The metrics of a case with two prompts, both of this probability."""
    return compute_metrics(kind, [ProbeScore(*key, (value, value), 1) for key, value in values.items()])


def asked(small_suite: Make, kind: str, place: int) -> set[tuple[str, str, str, str]]:
    program = compile_case(load_suite(small_suite(kind).write()).cases[place])
    return {(probe.fact, probe.state, probe.prompts[0], probe.target) for probe in program.probes}


def passes(kind: str, metrics: dict[str, float | None]) -> bool:
    return judge(metrics, tuple(parse_threshold(text) for text in pitfall_of(kind).thresholds)).passed is True


def test_ripple_asks_for_what_follows_and_for_what_does_not(small_suite: Make) -> None:
    expected = {
        ("new", "The capital of France is", "Rome"),
        ("true", "The capital of France is", "Paris"),
        ("alias:0", "The capital of Gallia is", "Rome"),
        ("alias_old:0", "The capital of Gallia is", "Paris"),
        ("logical:0", "Rome is the capital of", "France"),
        ("logical_old:0", "Rome is the capital of", "Italy"),
        ("onward:0", "The country of France is", "Italy"),
        ("onward_old:0", "The country of France is", "Gaul"),
        ("backward:0", "Lyon is a kind of", "Rome"),
        ("backward_old:0", "Lyon is a kind of", "Paris"),
        ("premise:0", "The country of Lyon is", "France"),
        ("premise_new:0", "The country of Lyon is", "Rome"),
        ("other:0", "The country of France is", "Europe"),
        ("other_new:0", "The country of France is", "Rome"),
    }
    assert asked(small_suite, "ripple", 0) == {
        (name, state, prompt, target) for name, prompt, target in expected for state in "01"
    }
    case = load_suite(small_suite("ripple").write()).cases[0]
    former = ["alias_old:0", "logical_old:0", "onward_old:0", "backward_old:0"]
    assert list(case.row.held_facts()) == ["edit1", "premise:0", *former, "other:0"]
    program = compile_case(load_suite(small_suite("ripple").write()).cases[1])
    assert program.steps == ((EditRequest("The country of {} is", "Kobe", "Peru", "Japan", "P17"),),)
    # the conclusion of an edit's new object rests on what is known of that
    assert [question.name for question in program.held] == ["edit1", "premise:0", "onward_old:0"]
    assert ("onward:0", "1", "Kobe is a kind of", "Lima") in asked(small_suite, "ripple", 1)


RIPPLE = {
    ("new", "1"): 0.6, ("true", "1"): 0.2, ("new", "0"): 0.1, ("true", "0"): 0.5,
    ("alias:0", "0"): 0.1, ("alias_old:0", "0"): 0.3, ("alias:0", "1"): 0.4, ("alias_old:0", "1"): 0.3,
    ("backward:0", "0"): 0.3, ("backward_old:0", "0"): 0.2, ("backward:0", "1"): 0.3, ("backward_old:0", "1"): 0.3,
    ("premise:0", "0"): 0.5, ("premise_new:0", "0"): 0.1, ("premise:0", "1"): 0.2, ("premise_new:0", "1"): 0.6,
    ("other:0", "0"): 0.5, ("other_new:0", "0"): 0.1, ("other:0", "1"): 0.5, ("other_new:0", "1"): 0.1,
}  # fmt: skip


def test_ripples_by_hand() -> None:
    """One alias follows; a conclusion that the model said before is lost, a tie being no win; a premise is overfit."""
    metrics = metrics_of("ripple", RIPPLE)
    assert (metrics["es"], metrics["ps"]) == (1.0, 1.0)
    assert (metrics["ripples"], metrics["ripples_0"], metrics["ripples_lift"]) == (0.5, 0.5, 0.0)
    assert (metrics["subject_aliasing"], metrics["subject_aliasing_0"]) == (1.0, 0.0)
    assert (metrics["compositionality_2"], metrics["compositionality_2_lift"]) == (0.0, -1.0)
    assert (metrics["not_overfit"], metrics["not_overfit_0"], metrics["not_overfit_lift"]) == (0.5, 1.0, -0.5)
    assert "logical_generalisation" not in metrics, "a case without such a conclusion does not have it"
    assert not passes("ripple", metrics), "the new object is said where the premise is asked"
    assert passes("ripple", metrics_of("ripple", {**RIPPLE, ("premise_new:0", "1"): 0.1}))
    assert not passes("ripple", metrics_of("ripple", {**RIPPLE, ("alias_old:0", "1"): 0.5, ("premise:0", "1"): 1.0}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aliases": [], "logical": [], "onward": [], "backward": []}, "nothing follows from the edit"),
        ({"premises": []}, "a conclusion by a rule rests on no premise"),
        (
            {"aliases": [{"relation": "P36", "subject": "Gallia", "object": "Rome", "new_object": "Rome"}]},
            "field aliases.0.new_object",
        ),
        (
            {"logical": [{"relation": "P1376", "subject": "Rome", "object": "Italy", "new_object": "France"}] * 2},
            "it is logical.0 again",
        ),
    ],
)
def test_what_is_no_ripple(small_suite: Make, changes: dict[str, Any], message: str) -> None:
    suite = small_suite("ripple")
    suite.lines[0].update(changes)
    with pytest.raises(UsageError, match=message):
        load_suite(suite.write())


def test_deduction_asks_for_every_fact_of_a_chain(small_suite: Make) -> None:
    names = {(name, prompt, target) for name, _, prompt, target in asked(small_suite, "deduction", 1)}
    assert names == {
        ("new", "Kobe is a kind of", "Rome"),
        ("true", "Kobe is a kind of", "Tokyo"),
        ("first:0:0", "The country of Kobe is", "Japan"),
        ("link:0:1", "The capital of Japan is", "Tokyo"),
        ("first:1:0", "The country of Kobe is", "Japan"),
        ("link:1:1", "Japan is the capital of", "Nippon"),
        ("link:1:2", "The capital of Nippon is", "Tokyo"),
        ("end_new:0", "The capital of Japan is", "Rome"),
        ("end_new:1", "The capital of Nippon is", "Rome"),
    }
    row = load_suite(small_suite("deduction").write()).cases[1].row
    # what two chains have in common is asked once
    assert list(row.held_facts()) == ["edit1", "first:0:0", "link:0:1", "link:1:1", "link:1:2"]


# the example of KnowGIC's README: a chain of three facts, 0.9, 0.85, 0.9 before and 0.7, 0.8, 0.85 after
CHAIN = {
    ("new", "1"): 0.6, ("true", "1"): 0.2,
    ("first:0:0", "0"): 0.9, ("link:0:1", "0"): 0.85, ("link:0:2", "0"): 0.9,
    ("first:0:0", "1"): 0.7, ("link:0:1", "1"): 0.8, ("link:0:2", "1"): 0.85,
    ("end_new:0", "0"): 0.1, ("end_new:0", "1"): 0.1,
}  # fmt: skip


def test_the_example_of_knowgic() -> None:
    metrics = metrics_of("deduction", CHAIN)
    assert metrics["ifr"] == pytest.approx(0.7 * 0.8 * 0.85 / (0.9 * 0.85 * 0.9))
    assert metrics["preservation"] == pytest.approx((0.8 / 0.85 + 0.85 / 0.9) / 2)
    assert (metrics["ends_kept"], metrics["ends_kept_lift"]) == (1.0, 0.0)
    assert not passes("deduction", metrics), "the former fact is still deducible"
    assert passes("deduction", metrics_of("deduction", {**CHAIN, ("first:0:0", "1"): 0.1}))
    damaged = {
        key: p * 0.7 if key[1] == "1" else p
        for key, p in {
            **CHAIN,
            **{(name, "1"): CHAIN[name, "0"] for name in ("first:0:0", "link:0:1", "link:0:2")},
        }.items()
    }
    assert metrics_of("deduction", damaged)["ifr"] < 0.5
    assert not passes("deduction", metrics_of("deduction", damaged)), "everything is less likely alike"
    gone = metrics_of("deduction", {**CHAIN, ("link:0:1", "1"): 0.01, ("link:0:2", "1"): 0.01})
    assert not passes("deduction", gone), "facts that nobody edited are lost"
    assert gone["ends_kept_lift"] == -1.0, "a chain ends with the edit's object"


def test_a_longer_chain_counts_less() -> None:
    values = {**CHAIN, ("first:1:0", "0"): 0.5, ("link:1:1", "0"): 0.5, ("first:1:0", "1"): 0.0, ("link:1:1", "1"): 0.5}
    three = 0.7 * 0.8 * 0.85 / (0.9 * 0.85 * 0.9)
    weights = 1 / math.sqrt(3), 1 / math.sqrt(2)
    assert metrics_of("deduction", values)["ifr"] == pytest.approx(three * weights[0] / sum(weights))


@given(before=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6), factor=st.floats(0.01, 1.0))
def test_an_edit_that_changes_nothing_recovers_all(before: list[float], factor: float) -> None:
    names = ["first:0:0", *(f"link:0:{step}" for step in range(1, len(before)))]
    same = {(name, state): p for name, p in zip(names, before, strict=True) for state in "01"}
    metrics = metrics_of("deduction", same)
    assert metrics["ifr"] == pytest.approx(1.0)
    assert metrics["preservation"] == pytest.approx(1.0)
    scaled = {(name, state): p * factor if state == "1" else p for (name, state), p in same.items()}
    metrics = metrics_of("deduction", scaled)
    assert metrics["ifr"] == pytest.approx(factor ** len(before), rel=1e-6)
    assert metrics["preservation"] == pytest.approx(factor, rel=1e-6)


def test_a_chain_with_an_unknown_fact_is_unknown() -> None:
    values = {**CHAIN, ("link:0:1", "0"): 0.0}
    metrics = metrics_of("deduction", values)
    assert (metrics["ifr"], metrics["preservation"]) == (None, None)


@pytest.mark.parametrize(
    ("step", "key", "value", "message"),
    [
        (0, "subject", "Nice", r"it is 'Nice', but the chain is at 'Lyon'"),
        (1, "object", "Lyon", r"the chain ends at 'Lyon', not at what the edit replaces"),
        (0, "relation", "P279", "the chain passes over what the edit writes"),
    ],
)
def test_what_is_no_chain(small_suite: Make, step: int, key: str, value: str, message: str) -> None:
    suite = small_suite("deduction")
    suite.lines[0]["chains"][0][step][key] = value
    with pytest.raises(UsageError, match=message):
        load_suite(suite.write())
