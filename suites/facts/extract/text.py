"""Small things about English words."""

from __future__ import annotations

import re
import unicodedata

_VOWEL_LETTER_CONSONANT_SOUND = re.compile(
    r"(uni(?![mn])|use|usu|ura|ur[ei]|eu|ewe|one\b|once|ukulele|uti|ubi)", re.IGNORECASE
)
_SILENT_H = re.compile(r"(hour|honest|honou?r|heir)", re.IGNORECASE)


def indefinite(word: str) -> str:
    """Return "a" or "an"."""
    if _SILENT_H.match(word):
        return "an"
    return "an" if word[:1].lower() in "aeiou" and not _VOWEL_LETTER_CONSONANT_SOUND.match(word) else "a"


def unaccented(text: str) -> str:
    """Return the text without accents; letters that are no accented ones (ł, ø) stay."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def without_brackets(text: str) -> str:
    """Return the text without what stands in round or square brackets."""
    previous = None
    while previous != text:
        previous, text = text, re.sub(r"\s*[(\[][^()\[\]]*[)\]]", "", text)
    return " ".join(text.split())
