"""Where a generated text ends."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_editpitfalls.engine.generation import cut, is_over


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (" Rome. It is old", "Rome."),
        (" Rome.", "Rome."),
        (" Rome", "Rome"),
        ("\n\nRome\nParis", "Rome"),
        ('He said "no." Then', 'He said "no."'),
        ("in St. Louis. It", "in St. Louis."),
        ("of the U.S. Army. It", "of the U.S. Army."),
        ("J. R. R. Tolkien! Yes", "J. R. R. Tolkien!"),
        ("at 3.5 km. It", "at 3.5 km."),
        ("is Rome?! No", "is Rome?!"),
        ("the U.S.\nIt", "the U.S."),
        ("巴黎。它", "巴黎。"),
        ("  ", ""),
        ("", ""),
    ],
)
def test_the_first_sentence(text: str, sentence: str) -> None:
    assert cut(text, "sentence") == sentence


def test_a_line_and_everything() -> None:
    assert cut(" Rome. It is\nold", "line") == "Rome. It is"
    assert cut(" Rome. It is\nold ", "never") == "Rome. It is\nold"


def test_a_mark_waits_for_what_belongs_to_it() -> None:
    """The next token may bring another mark, or the quotation's end."""
    assert not is_over("巴黎。", "sentence")
    assert cut("他说「巴黎。」它", "sentence") == "他说「巴黎。」"
    assert is_over("他说「巴黎。」它", "sentence")


@given(st.text(alphabet='ab. !?\nSt.U。"', max_size=30), st.sampled_from(["sentence", "line", "never"]))
@example(text="。。", stop="sentence")
def test_what_is_over_stays_as_it_is_whatever_follows(text: str, stop: str) -> None:
    """Tokens after the end cannot change it, so that generation may stop there."""
    for end in range(len(text)):
        if is_over(text[:end], stop):  # type: ignore[arg-type]
            assert cut(text, stop) == cut(text[:end], stop)  # type: ignore[arg-type]
            break
