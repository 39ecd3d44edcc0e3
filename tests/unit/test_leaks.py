"""Words and first letters that a text shares with an answer."""

from __future__ import annotations

import pytest

from pytest_editpitfalls.cases.leaks import Leak, contains_label, leaks, words


@pytest.mark.parametrize(
    ("text", "label", "how"),
    [
        ("The official language of Japan is", "Japanese", "first letters"),
        ("Norway", "Norwegian", "first letters"),
        ("The capital of Mexico is", "Mexico City", "word"),
        ("Mexico City is the capital of", "Mexico", "label"),
        ("The periodic table knows {} as", "As", "label"),  # the symbol of arsenic
        ("The symbol of arsenic is", "As", None),
        ("A cone of vanilla cream holds", "ice cream", "word"),
        ("The people of Laos speak", "Lao", "first letters"),
        ("cats", "cat", "first letters"),
        ("Iceland", "ice", None),  # three letters and four more: chance
        ("Turkey's largest city is", "Turkey", "label"),
        ("the Republic of Korea", "Kingdom of the Netherlands", None),  # function words
        ("They come with", "Withington", None),
        ("Côte d’Ivoire", "COTE D'IVOIRE", "label"),
        ("The capital of France is", "Paris", None),
        ("Paraguay", "Paris", None),
        ("法国的首都是", "巴黎", None),
        ("日本的官方语言是", "日本語", "first letters"),
        ("日本の首都は", "日本", "label"),
        ("", "Paris", None),
        ("Paris", "?!", None),
    ],
)
def test_what_gives_a_label_away(text: str, label: str, how: str | None) -> None:
    assert [leak.how for leak in leaks(text, label)] == ([how] if how else [])


@pytest.mark.parametrize(("one", "other"), [("Japan", "Japanese"), ("Mexico", "Mexico City"), ("日本", "日本語")])
def test_both_ways(one: str, other: str) -> None:
    assert leaks(one, other)
    assert leaks(other, one)


def test_every_shared_word_is_named() -> None:
    assert leaks("The Great Lakes of the United States", "the Great Wall of the Unites") == (
        Leak("great", "great", "word"),
        Leak("united", "unites", "first letters"),
    )
    assert [str(leak) for leak in leaks("Japan", "Japanese")] == ["'japan' begins as 'japanese' does"]
    assert [str(leak) for leak in leaks("Mexico", "Mexico City")] == ["'mexico' stands in it"]


def test_one_label_within_another() -> None:
    assert contains_label("Mexico City", "mexico")
    assert contains_label("Mexico", "México")
    assert contains_label("中华人民共和国", "人民")
    assert not contains_label("Nigeria", "Niger")
    assert not contains_label("Mexico", "Mexico City")
    assert not contains_label("Mexico", "...")


def test_words_as_they_are_compared() -> None:
    assert words("São Tomé's Straße, Łódź") == ("sao", "tome", "strasse", "lodz")
    assert words("東京 Tower") == ("東", "京", "tower")
