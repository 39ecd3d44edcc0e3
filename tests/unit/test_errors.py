"""Messages: one form for all, safe for a terminal, and never endless."""

from __future__ import annotations

from pytest_editpitfalls.errors import CaseError, UsageError
from pytest_editpitfalls.escaping import visible


def test_a_message_names_what_where_and_fix() -> None:
    assert str(UsageError("it is wrong", where="a.toml:3", fix="mend it")) == "a.toml:3: it is wrong\n  fix: mend it"
    assert str(UsageError("it is wrong")) == "it is wrong"


def test_what_a_message_quotes_is_escaped_and_cut() -> None:
    text = str(UsageError("a\x1b[2J\n  fix: none", where="\u202eb", fix="c\x9b\ud800"))
    assert text == "\\u202eb: a\\x1b[2J\\n  fix: none\n  fix: c\\x9b\\ud800"
    assert len(str(UsageError("x" * 10**6, where="y" * 10**6, fix="z" * 10**6))) < 15_000


def test_exceptions_of_an_editor_keep_their_lines() -> None:
    assert str(CaseError("first\nsecond\x1b[31m")) == "first\nsecond\\x1b[31m"


def test_a_long_text_is_cut() -> None:
    assert visible("abcdef", at_most=3) == "abc..."
    assert visible("abc", at_most=3) == "abc"
