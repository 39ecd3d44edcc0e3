"""Whether a text gives an answer away: words and first letters that it shares with a label. Pure functions.

A model that completes "The official language of Japan is" with "Japanese" may copy letters rather than recall a fact.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

FIRST_LETTERS = 4
"""Letters that two words have to begin with alike.

Four find "Japan" and "Japanese", "Norway" and "Norwegian". Three find "Spain" and "Spanish" too, but two labels drawn
at random agree in three letters five times as often as in four ("champagne" and "Charger").
"""

SHORT_ENDING = 2
"""A word of three letters counts where the other only adds so many: "Lao" and "Laos", "cat" and "cats"."""

_UNSPACED_LETTERS = 2
"""The same for scripts without spaces, where one sign is a syllable or a word."""

_FUNCTION_WORDS = """
    a an and are as at by for from has have in into is it its of on or that the their they this to was were what when
    where which who whose will with you your he her his she him not be been but can could did do does had one some than
    then there these those after also
    al da das de del della der des di die do dos du e el en et i l la las le les lo los o te und van von y zu
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""They stand in any sentence and in many names, and give nothing away. A label that is such a word does ("As")."""

# Han, kana, Thai, Lao, Khmer, Burmese and Hangul are cut into single signs: nothing says where a word ends.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_])+")
_APOSTROPHE = re.compile("['\u2019](?:s\\b)?")
_UNSPACED_SIGN = re.compile(f"[{_UNSPACED}]")
_NO_MARKS = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i"}
)

How = Literal["label", "word", "first letters"]


@dataclass(frozen=True, slots=True)
class Leak:
    """What a text and a label share.

    Attributes:
        in_text: the words of the text, as they are compared: lower case, no accents.
        in_label: the words of the label.
        how: "label" (the whole label stands in the text), "word" (one of its words does) or "first letters".
    """

    in_text: str
    in_label: str
    how: How

    def __str__(self) -> str:
        if self.how == "first letters":
            return f"'{self.in_text}' begins as '{self.in_label}' does"
        return f"'{self.in_label}' stands in it"


@lru_cache(maxsize=1 << 16)
def words(text: str) -> tuple[str, ...]:
    """Return the words of a text as they are compared: lower case, no accents, no punctuation.

    Scripts without spaces give one sign each.
    """
    plain = unicodedata.normalize("NFKD", text).casefold().translate(_NO_MARKS)
    plain = "".join(each for each in plain if unicodedata.category(each) != "Mn")
    return tuple(_WORD.findall(_APOSTROPHE.sub("", unicodedata.normalize("NFC", plain))))


def is_unspaced(sign: str) -> bool:
    """Whether a sign belongs to a script that puts no spaces between words."""
    return _UNSPACED_SIGN.match(sign) is not None


def leaks(text: str, label: str) -> tuple[Leak, ...]:
    """Return what ``text`` gives away of ``label``; nothing where they share neither a word nor first letters.

    The rule is the same both ways round, so that two labels can be compared as well. Function words of a longer
    label do not count ("of" in "Republic of the Congo"). The relation's own words do: "city" in a prompt gives part of
    "Mexico City" away.

    Args:
        text: a prompt with its subject in place, or another label.
        label: what is asked for.
    """
    return _leaks(words(text), words(label))


@lru_cache(maxsize=1 << 16)
def _leaks(text: tuple[str, ...], label: tuple[str, ...]) -> tuple[Leak, ...]:
    if not label or not text:
        return ()
    if _within(label, text):
        whole = ("" if _UNSPACED_SIGN.match(label[0]) else " ").join(label)
        return (Leak(whole, whole, "label"),)
    found: list[Leak] = []
    theirs = _spaced(text)
    for word in _spaced(label):
        if word in theirs:
            found.append(Leak(word, word, "word"))
        else:
            found += [Leak(other, word, "first letters") for other in theirs if _begin_alike(other, word)]
    for start, other in ((_unspaced_start(label), text), (_unspaced_start(text), label)):
        if start and _within(start, other):
            found.append(Leak("".join(start), "".join(start), "first letters"))
            break
    return tuple(found)


def contains_label(text: str, label: str) -> bool:
    """Whether all words of ``label`` stand in ``text`` one after the other.

    "Mexico" stands in "Mexico City", "Niger" not in "Nigeria". A label contains itself. Nothing contains one without
    letters and digits.
    """
    return bool(words(label)) and _within(words(label), words(text))


def _within(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    first, size = part[0], len(part)
    return any(word == first and whole[at : at + size] == part for at, word in enumerate(whole))


def _spaced(all_words: tuple[str, ...]) -> dict[str, None]:
    """The words that can give something away, each once, in their order."""
    return dict.fromkeys(word for word in all_words if word not in FUNCTION_WORDS and not _UNSPACED_SIGN.match(word))


def _begin_alike(one: str, other: str) -> bool:
    if one[:FIRST_LETTERS] == other[:FIRST_LETTERS] and min(len(one), len(other)) >= FIRST_LETTERS:
        return True
    short, long = sorted((one, other), key=len)
    return len(short) == FIRST_LETTERS - 1 and long.startswith(short) and len(long) - len(short) <= SHORT_ENDING


def _unspaced_start(all_words: tuple[str, ...]) -> tuple[str, ...]:
    """The first signs of a label in a script without spaces; nothing for another script, or a single sign."""
    start = all_words[:_UNSPACED_LETTERS]
    return start if len(start) == _UNSPACED_LETTERS and all(map(_UNSPACED_SIGN.match, start)) else ()
