"""Where a generated text ends: at its first sentence or line. Pure."""

from __future__ import annotations

import re

from pytest_editpitfalls.probes import Stop

_MARK = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s)|[。！？]+[」』”’）]*(?=[^。！？」』”’）])|(?=[\r\n])")
"""Ends a sentence: a mark that a space follows, or in a script without spaces anything that does not belong to the
mark; or the end of the line."""

_LINE = re.compile(r"(?=[\r\n])")

_ABBREVIATION = re.compile(r"(?:^|[\s(])(?:Mr|Mrs|Ms|Dr|Prof|St|Mt|Ft|Jr|Sr|No|vs|ca|cf|(?:\w\.)*\w)\.$")
"""What ends with a full stop and no sentence: a title, a single letter, letters with stops between them ("U.S.")."""


def _end(text: str, stop: Stop) -> int | None:
    """Where ``text``, which starts with no space, ends; None where it goes on."""
    if stop == "never":
        return None
    for mark in (_MARK if stop == "sentence" else _LINE).finditer(text):
        if not _ABBREVIATION.search(text[: mark.end()]) or text[mark.end() :][:1] in ("\r", "\n"):
            return mark.end()
    return None


def is_over(text: str, stop: Stop) -> bool:
    """Return whether more tokens cannot change `cut`: the first sentence or line is complete."""
    return _end(text.lstrip(), stop) is not None


def cut(text: str, stop: Stop) -> str:
    """Return the first sentence or line of ``text``, without spaces around it; line breaks before it do not count."""
    stripped = text.lstrip()
    return stripped[: _end(stripped, stop)].rstrip()
