"""Labels come from data: control characters, terminal escapes and bidirectional marks are shown, not obeyed."""

from __future__ import annotations


def visible(text: object, *, keep_newlines: bool = False, at_most: int | None = None) -> str:
    """Return ``text`` with everything unprintable as a backslash escape; what is beyond ``at_most`` is left out."""
    whole = str(text)
    shown = whole[:at_most]
    if not shown.isprintable():  # few texts are not, and a report asks for a million
        shown = "".join(
            char
            if char.isprintable() or (keep_newlines and char == "\n")
            else char.encode("unicode_escape").decode("ascii")
            for char in shown
        )
    return shown if at_most is None or len(whole) <= at_most else f"{shown}..."


def encodable(text: str, encoding: str | None) -> str:
    """Return ``text`` with what ``encoding`` cannot say as a backslash escape."""
    name = encoding or "utf-8"
    return text.encode(name, errors="backslashreplace").decode(name)
