"""Whether a generated text gives an answer. Pure: words are compared, no model is asked.

Case, punctuation, the English articles and spaces make no difference, as in the evaluation of SQuAD (Rajpurkar et al.
2016, arXiv:1606.05250): "the Louvre." is "Louvre". Beyond that accents and compatibility forms are compared as
Unicode's NFKC writes them, so that one spelling is not two. An answer of punctuation alone ("+") is compared as it is,
and one of at most three letters, all capitals ("US"), with its case: "us" is a word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from .probes import Match

_ARTICLES = frozenset({"a", "an", "the"})


_APOSTROPHES = frozenset("'\u2018\u2019")

SHORT = 3
"""Letters of an answer in capitals that is compared with its case."""


@lru_cache(maxsize=65536)
def normalised(text: str, *, keep_case: bool = False, apart: bool = False) -> str:
    """Return ``text`` without differences of case, punctuation, articles and spaces; empty only where it is.

    Args:
        keep_case: whether case stays a difference.
        apart: whether words that punctuation joins ("Paris/Lyon") are two. Behind an apostrophe ("Einstein's") and
            inside a number ("3.5") it is one word in any case.
    """
    folded = unicodedata.normalize("NFKC", text)
    folded = folded if keep_case else folded.casefold()
    bare = "".join(
        char if not unicodedata.category(char).startswith("P") else " " if apart and _parts(folded, place) else ""
        for place, char in enumerate(folded)
    )
    words = bare.split()
    kept = [word for word in words if word.casefold() not in _ARTICLES]
    return " ".join(kept or words or folded.split())


def _parts(text: str, place: int) -> bool:
    """Whether a mark of punctuation stands between two words."""
    in_number = text[place] in ".," and text[:place][-1:].isdigit() and text[place + 1 :][:1].isdigit()
    return text[place] not in _APOSTROPHES and not in_number


def matches(text: str, answers: Sequence[str], match: Match) -> bool:
    """Return whether ``text`` gives one of ``answers``.

    Args:
        text: what the model said.
        answers: what counts as right, the usual name first.
        match: ``exact``: the text is the first answer; ``alias``: it is one of them; ``contains``: one of them stands
            in it as whole words; where a script has no spaces between words (Chinese, Japanese, Thai), at any place.
    """
    return any(_gives(text, answer, match) for answer in (answers[:1] if match == "exact" else answers))


def _gives(text: str, answer: str, match: Match) -> bool:
    keep_case = _is_short(answer)
    said, wanted = normalised(text, keep_case=keep_case), normalised(answer, keep_case=keep_case)
    if match != "contains":
        return said == wanted
    return _contains(said, wanted) or _contains(
        normalised(text, keep_case=keep_case, apart=True), normalised(answer, keep_case=keep_case, apart=True)
    )


def _is_short(answer: str) -> bool:
    """Whether an answer is a few letters in capitals."""
    letters = [char for char in answer if char.isalpha()]
    return 0 < len(letters) <= SHORT and all(char.isupper() for char in letters)


def _contains(said: str, answer: str) -> bool:
    """Whether an answer stands in a text; neither end may cut a word in two."""
    place = said.find(answer)
    while answer and place >= 0:
        before, behind = said[:place][-1:], said[place + len(answer) :][:1]
        if not (_joined(before, answer[0]) or _joined(answer[-1], behind)):
            return True
        place = said.find(answer, place + 1)
    return False


def _joined(one: str, other: str) -> bool:
    """Whether two neighbouring characters are of one word."""
    return all(char.isalnum() and not _without_spaces(char) for char in (one, other)) if one and other else False


def _without_spaces(char: str) -> bool:
    """Whether a letter is of a script that is written without spaces between words."""
    name = unicodedata.name(char, "")
    return name.startswith(("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"))
