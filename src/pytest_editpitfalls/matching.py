"""Whether a generated text gives an answer. Pure: words are compared, no model is asked.

Case, punctuation, the English articles and spaces make no difference, as in the evaluation of SQuAD (Rajpurkar et al.
2016, arXiv:1606.05250): "the Louvre." is "Louvre". Beyond that accents and compatibility forms are compared as
Unicode's NFKC writes them, so that one spelling is not two. An answer of punctuation alone ("+") is compared as it is.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from .probes import Match

_ARTICLES = frozenset({"a", "an", "the"})


@lru_cache(maxsize=65536)
def normalised(text: str) -> str:
    """Return ``text`` without differences of case, punctuation, articles and spaces; empty only where it is."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    bare = "".join(char for char in folded if not unicodedata.category(char).startswith("P"))
    words = bare.split()
    kept = [word for word in words if word not in _ARTICLES]
    return " ".join(kept or words or folded.split())


def matches(text: str, answers: Sequence[str], match: Match) -> bool:
    """Return whether ``text`` gives one of ``answers``.

    Args:
        text: what the model said.
        answers: what counts as right, the usual name first.
        match: ``exact``: the text is the first answer; ``alias``: it is one of them; ``contains``: one of them stands
            in it as whole words; where a script has no spaces between words (Chinese, Japanese, Thai), at any place.
    """
    said = normalised(text)
    if match == "exact":
        return said == normalised(answers[0])
    wanted = {normalised(answer) for answer in answers}
    if match == "alias":
        return said in wanted
    return any(_contains(said, answer) for answer in wanted)


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
