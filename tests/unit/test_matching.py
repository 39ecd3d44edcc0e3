"""Whether a generated text gives an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.matching import matches, normalised
from pytest_editpitfalls.probes import Generated

EINSTEIN = ("Albert Einstein", "Einstein")


@pytest.mark.parametrize(
    ("text", "exact", "alias", "contains"),
    [
        ("Albert Einstein", True, True, True),
        ("  albert EINSTEIN. ", True, True, True),
        ("Einstein", False, True, True),
        ("It was the Einstein of his day.", False, False, True),
        ("Einstein's", False, False, False),  # without punctuation it is another word
        ("Einsteinium", False, False, False),
        ("Alberta Einstein", False, False, True),
        ("Bohr", False, False, False),
        ("", False, False, False),
    ],
)
def test_exact_alias_and_containment(text: str, exact: bool, alias: bool, contains: bool) -> None:
    assert matches(text, EINSTEIN, "exact") is exact
    assert matches(text, EINSTEIN, "alias") is alias
    assert matches(text, EINSTEIN, "contains") is contains


@pytest.mark.parametrize(
    ("text", "answer", "found"),
    [
        ("the Louvre", "Louvre", True),
        ("An apple a day", "apple day", True),  # articles are no words
        ("The", "the", True),  # an answer of articles alone is compared as it stands
        ("The Who", "Who", True),
        ("C++", "C++", True),
        ("C", "C++", False),
        ("+", "+", True),
        ("...", "-", False),
        ("U.S.", "US", True),
        ("Zu\u0308rich", "Zürich", True),  # one letter, or a letter and its accent
        ("Strasse", "Straße", True),
        ("in 1985, he", "1985", True),
        ("in 19852", "1985", False),
        ("New  York\tCity", "new york city", True),
        ("法国的首都是巴黎。", "巴黎", True),
        ("フランスの首都はパリです", "パリ", True),
        ("Paris巴黎", "巴黎", True),
        ("Paris/Lyon", "Paris", True),
        ("Paris/Lyon", "Lyon", True),
        ("Paris—which is in France", "Paris", True),
        ("the Paris-based office", "Paris", True),
        ("Jean-Paul Sartre/Camus", "Jean-Paul Sartre", True),
        ("1985-1990", "1985", True),
        ("about 3.5", "5", False),  # a number is one word
        ("1,985", "985", False),
        ("It helps us.", "US", False),
        ("in the US.", "US", True),
        ("in the U.S. today", "US", True),
        ("us", "U.S.", False),
        ("the EU/US deal", "US", True),
        ("nasa", "NASA", True),
    ],
)
def test_what_makes_no_difference_and_what_does(text: str, answer: str, found: bool) -> None:
    assert matches(text, (answer,), "contains") is found


def test_a_few_capitals_are_compared_with_their_case_however_they_are_matched() -> None:
    for match in ("exact", "alias", "contains"):
        assert matches("US.", ("US",), match)
        assert not matches("us", ("US",), match)


@given(st.text(max_size=40), st.text(min_size=1, max_size=20), st.text(max_size=40))
def test_stricter_matches_are_matches(before: str, answer: str, behind: str) -> None:
    text = before + answer + behind
    if matches(text, (answer,), "exact"):
        assert matches(text, (answer,), "alias")
    if matches(text, (answer,), "alias"):
        assert matches(text, (answer,), "contains") or not normalised(answer)
    assert matches(answer, (answer,), "exact")
    assert normalised(normalised(text)) == normalised(text)


@pytest.mark.parametrize("answers", [(), ("",), ("Rome", " ")])
def test_no_answer_is_refused(answers: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="give at least one answer"):
        Generated("said", "1", ("x",), answers)


def test_no_token_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one token"):
        Generated("said", "1", ("x",), ("Rome",), max_tokens=0)
