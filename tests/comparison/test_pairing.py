"""Cases of two runs side by side: what became of each, and what cannot be compared."""

from __future__ import annotations

from typing import Any

import pytest
from comparison_samples import case, run
from hypothesis import given
from hypothesis import strategies as st

from pytest_editpitfalls.comparison.baseline import FAILED, Baseline
from pytest_editpitfalls.comparison.pairing import check_protocol, compare
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.results.run_records import EditorRecord, ModelRecord

OUTCOMES = ["passed", "failed", "xfailed", "skipped", "error"]
NAMES = "abc"


def known(names: str, suite: str = "reverse") -> dict[tuple[str, str], str]:
    return {(suite, name): f"digest of {suite} {name}" for name in names}


@pytest.mark.parametrize(
    ("there", "here", "change"),
    [
        ("failed", "failed", "known"),
        ("failed", "xfailed", "known"),
        ("xfailed", "failed", "known"),
        ("passed", "failed", "new_failure"),
        ("passed", "xfailed", "new_failure"),
        ("skipped", "failed", "new_failure"),
        ("error", "failed", "new_failure"),
        ("failed", "passed", "fixed"),
        ("xfailed", "passed", "fixed"),
        ("passed", "passed", "unchanged"),
        ("skipped", "skipped", "unchanged"),
        ("error", "skipped", "unchanged"),
        ("failed", "skipped", "lost"),
        ("passed", "skipped", "lost"),
        ("skipped", "passed", "gained"),
        ("error", "passed", "gained"),
        ("failed", "error", "error"),
        ("passed", "error", "error"),
        ("error", "error", "error"),
        ("skipped", "error", "error"),
    ],
)
def test_what_became_of_a_case(there: Any, here: Any, change: str) -> None:
    comparison = compare(Baseline.of(run([case("a", outcome=there)])), run([case("a", outcome=here)]), known("a"))
    (pair,) = comparison.pairs
    assert pair.change == change


@given(outcomes=st.lists(st.tuples(st.sampled_from(OUTCOMES), st.sampled_from(OUTCOMES)), min_size=1, max_size=12))
def test_only_a_failure_there_excuses_and_counts_add_up(outcomes: list[tuple[Any, Any]]) -> None:
    there = run([case(f"c{place}", outcome=outcome) for place, (outcome, _) in enumerate(outcomes)])
    here = run([case(f"c{place}", outcome=outcome) for place, (_, outcome) in enumerate(outcomes)])
    record = compare(Baseline.of(there), here).record()
    parts = record.known + record.unchanged + record.errors + record.lost + record.gained
    assert parts + len(record.new_failures) + len(record.fixed) == record.paired == len(outcomes)
    failing = sum(outcome in FAILED for _, outcome in outcomes)
    assert record.known + len(record.new_failures) == failing
    assert record.known == sum(old in FAILED and new in FAILED for old, new in outcomes)


def test_deselected_and_new_cases_are_counted() -> None:
    base = Baseline.of(run([case("a"), case("b"), case("a", editor="memit"), case("x", suite="easy")]))
    comparison = compare(base, run([case("b"), case("c")]), known("abc"), name="main")
    assert [pair.key[3] for pair in comparison.pairs] == ["b"]
    assert comparison.deselected == (
        ("easy", "rome", "m", "x"),
        ("reverse", "memit", "m", "a"),
        ("reverse", "rome", "m", "a"),
    )
    assert comparison.new == (("reverse", "rome", "m", "c"),)
    record = comparison.record()
    assert (record.base, record.paired, record.new, record.deselected) == ("main", 1, 1, 3)


def test_a_case_that_the_suites_do_not_have_is_refused() -> None:
    base = Baseline.of(run([case("a"), case("b")]))
    with pytest.raises(UsageError, match="lack cases that the baseline has: reverse b") as caught:
        compare(base, run([case("a")]), known("a"))
    assert "--pitfalls-update-baseline" in str(caught.value)


def test_the_list_is_bounded() -> None:
    base = Baseline.of(run([case(f"c{place:04d}") for place in range(3000)]))
    with pytest.raises(UsageError, match="and 2989 more") as caught:
        compare(base, run([case("c0000")]), {("reverse", "c0000"): "digest of reverse c0000"})
    assert len(str(caught.value)) < 1000


def test_labels_in_the_list_are_escaped() -> None:
    base = Baseline.of(run([case("a"), case("b\x1b[31m")]))
    with pytest.raises(UsageError) as caught:
        compare(base, run([case("a")]), known("a"))
    assert "\x1b" not in str(caught.value)


def test_without_the_suites_an_absent_case_needs_an_excuse() -> None:
    base = Baseline.of(run([case("a"), case("b")]))
    with pytest.raises(UsageError, match="the run lacks cases"):
        compare(base, run([case("a")]))
    assert compare(base, run([case("a")], limit=1)).deselected == (("reverse", "rome", "m", "b"),)
    assert compare(base, run([case("a")], shard="1/2")).deselected == (("reverse", "rome", "m", "b"),)
    partial = run([case("a")])
    partial.run.suites[0].total = 2
    assert len(compare(base, partial).deselected) == 1


@pytest.mark.parametrize("with_suites", [True, False])
def test_a_case_that_asks_something_else_is_refused(with_suites: bool) -> None:
    base = Baseline.of(run([case("a"), case("b", digest="other")]))
    with pytest.raises(UsageError, match="ask something else: reverse b"):
        compare(base, run([case("a"), case("b")]), known("ab") if with_suites else None)


def test_other_metric_definitions_are_refused() -> None:
    with pytest.raises(UsageError, match="metrics were defined otherwise"):
        compare(Baseline.of(run([case("a")])), run([case("a")], metric_definitions="new"))


def test_other_weights_are_refused() -> None:
    other = [ModelRecord(name="m", fingerprint="0" * 64)]
    with pytest.raises(UsageError, match=r"other weights.*m \(there ffffffffffff, here 000000000000\)"):
        compare(Baseline.of(run([case("a")])), run([case("a")], models=other))
    unknown = [ModelRecord(name="m")]
    assert compare(Baseline.of(run([case("a")])), run([case("a")], models=unknown)).pairs


def test_another_precision_is_named_where_the_weights_differ_by_it() -> None:
    other = [ModelRecord(name="m", fingerprint="0" * 64)]
    base = Baseline.of(run([case("a")], dtype="float32"))
    precisions = r"another precision \(there float32, here bf16-weights\): m \(there ffffffffffff"
    with pytest.raises(UsageError, match=precisions) as caught:
        compare(base, run([case("a")], models=other, dtype="bf16-weights"))
    assert "fix: --pitfalls-dtype=float32, or save a baseline in bf16-weights" in str(caught.value)
    with pytest.raises(UsageError, match="other weights"):
        compare(base, run([case("a")], models=other, dtype="float32"))


def test_nothing_in_common_is_refused() -> None:
    base = Baseline.of(run([case("a")]))
    for stranger in (case("a", editor="memit"), case("a", model="other"), case("a", suite="easy")):
        with pytest.raises(UsageError, match="no case in common"):
            compare(base, run([stranger]))


def test_hyper_parameters_are_listed_and_never_refused() -> None:
    editors = [
        EditorRecord(name="rome", model="m", hyper_parameters={"v_lr": 0.1, "new": True}, second_moment={"t": 1})
    ]
    comparison = compare(Baseline.of(run([case("a")])), run([case("a")], editors=editors))
    found = [(item.name, item.base, item.now) for item in comparison.hyper_parameters]
    assert found == [
        ("layers", [8], None),
        ("new", None, True),
        ("second_moment", None, {"t": 1}),
        ("v_lr", 0.5, 0.1),
    ]


def test_the_protocol_can_be_checked_before_the_run() -> None:
    base = Baseline.of(run([case("a")]))
    check_protocol(base, metric_definitions="definitions", digests=known("ab"), fingerprints={})
    check_protocol(base, metric_definitions="definitions", digests=None, fingerprints={"m": "f" * 64, "n": None})
    check_protocol(base, metric_definitions="definitions", digests=known("z", "easy"), fingerprints={"m": None})
    with pytest.raises(UsageError, match="lack cases"):
        check_protocol(base, metric_definitions="definitions", digests=known("b"), fingerprints={})


def test_12500_cases_are_paired_quickly() -> None:
    import time

    cases = [case(f"c{place:05d}") for place in range(12_500)]
    base, now = Baseline.of(run(cases)), run(cases)
    start = time.perf_counter()
    assert len(compare(base, now).pairs) == 12_500
    assert time.perf_counter() - start < 3
