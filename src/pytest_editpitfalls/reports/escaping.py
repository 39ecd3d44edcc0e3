"""Labels come from data: control characters, terminal escapes and bidirectional marks are shown, not obeyed."""

from __future__ import annotations


def visible(text: object, *, keep_newlines: bool = False) -> str:
    """Return ``text`` with everything unprintable as a backslash escape."""
    return "".join(
        char
        if char.isprintable() or (keep_newlines and char == "\n")
        else char.encode("unicode_escape").decode("ascii")
        for char in str(text)
    )


def encodable(text: str, encoding: str | None) -> str:
    """Return ``text`` with what ``encoding`` cannot say as a backslash escape."""
    name = encoding or "utf-8"
    return text.encode(name, errors="backslashreplace").decode(name)
