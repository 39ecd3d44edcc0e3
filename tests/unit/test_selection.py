"""A limited run stands for the whole suite: deterministic, in proportion, in file order."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import Case, Row
from pytest_editpitfalls.suites.limit import limit_cases


def cases_of(rules: list[str]) -> list[Case]:
    return [
        Case("s", "reverse", "f", index, Row.model_construct(id=f"{rule}-{index}", rule=rule, edits=()), ())
        for index, rule in enumerate(rules)
    ]


rule_lists = st.lists(st.sampled_from("abcd"), min_size=1, max_size=60)


@given(rules=rule_lists, n=st.integers(1, 70))
def test_size_order_and_proportion(rules: list[str], n: int) -> None:
    cases = cases_of(rules)
    chosen = limit_cases(cases, n)
    assert len(chosen) == min(n, len(cases))
    assert [case.source_index for case in chosen] == sorted({case.source_index for case in chosen})
    if n < len(cases):
        counts = Counter(case.group for case in chosen)
        for rule, size in Counter(rules).items():
            assert abs(counts[rule] - n * size / len(cases)) < 2, "a rule is far from its share"


@given(rules=rule_lists, n=st.integers(1, 60))
def test_a_smaller_limit_is_a_subset(rules: list[str], n: int) -> None:
    cases = cases_of(rules)
    assert {case.id for case in limit_cases(cases, n)} <= {case.id for case in limit_cases(cases, n + 1)}


def test_every_rule_of_equal_size_takes_turns() -> None:
    chosen = limit_cases(cases_of(["a"] * 10 + ["b"] * 10 + ["c"] * 10), 3)
    assert [case.id for case in chosen] == ["a-0", "b-10", "c-20"]


@pytest.mark.parametrize("n", [0, -3])
def test_no_case_is_refused(n: int) -> None:
    with pytest.raises(UsageError, match="leaves no case"):
        limit_cases(cases_of(["a"]), n)
