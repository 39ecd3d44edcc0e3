"""One true fact, with what is known of its subject and object."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pytest_editpitfalls.files import MAX_LABEL

REQUIRED = ("subject", "relation", "object")
FIELDS = (
    *REQUIRED,
    "subject_aliases",
    "object_aliases",
    "subject_kind",
    "object_kind",
    "subject_article",
    "object_article",
    "subject_number",
    "popularity",
    "source",
    "license",
    "date",
)
"""The columns of a table of facts, and the fields of a line of JSON."""

ALIASES = ("subject_aliases", "object_aliases")
ARTICLES = ("", "the", "a", "an")
NUMBERS = ("", "singular", "plural")


Key = tuple[str, str, str]
"""Relation, subject and object of a fact, the labels `plain`."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A subject or an object: what facts say of it.

    Attributes:
        label: without article.
        article: "", "the", "a" or "an".
        kind: what kind of thing it is, or "".
        aliases: its other names.
        popularity: of the best known fact that speaks of it.
    """

    label: str
    article: str = ""
    kind: str = ""
    aliases: tuple[str, ...] = ()
    popularity: float = 0.0

    @property
    def in_text(self) -> str:
        """The label with its article, as it stands in a sentence."""
        return f"{self.article} {self.label}" if self.article else self.label

    @property
    def names(self) -> tuple[str, ...]:
        """Label and aliases."""
        return (self.label, *self.aliases)


@dataclass(frozen=True, slots=True)
class KnownFact:
    """A true fact (subject, relation, object).

    Attributes:
        subject, object: labels without article, as they stand in the middle of a sentence.
        relation: id of a relation.
        subject_aliases, object_aliases: other names of the same thing.
        subject_kind, object_kind: what kind of thing they are ("country"), or "".
        subject_article, object_article: "", "the", "a" or "an".
        subject_number: "", "singular" or "plural".
        popularity: how well known the fact is; a larger number is better known. 0 where nobody said.
        source: where it is from.
        license: under which licence, or "".
        date: when that was so, or "".
        place: file and line that it was read from.
    """

    subject: str
    relation: str
    object: str
    subject_aliases: tuple[str, ...] = ()
    object_aliases: tuple[str, ...] = ()
    subject_kind: str = ""
    object_kind: str = ""
    subject_article: str = ""
    object_article: str = ""
    subject_number: str = ""
    popularity: float = 0.0
    source: str = ""
    license: str = ""
    date: str = ""
    place: str = ""

    @property
    def key(self) -> Key:
        """What it says, as facts are compared."""
        return self.relation, plain(self.subject), plain(self.object)

    @property
    def of(self) -> Thing:
        """The subject."""
        return Thing(self.subject, self.subject_article, self.subject_kind, self.subject_aliases, self.popularity)

    @property
    def to(self) -> Thing:
        """The object."""
        return Thing(self.object, self.object_article, self.object_kind, self.object_aliases, self.popularity)

    @property
    def turned(self) -> KnownFact:
        """The fact with subject and object in each other's place, of no relation."""
        return KnownFact(
            subject=self.object,
            relation="",
            object=self.subject,
            subject_aliases=self.object_aliases,
            object_aliases=self.subject_aliases,
            subject_kind=self.object_kind,
            object_kind=self.subject_kind,
            subject_article=self.object_article,
            object_article=self.subject_article,
            popularity=self.popularity,
        )


class BadFact(ValueError):
    """A record that is no fact: it is left out, and counted by this reason."""


_TEXTS = tuple(name for name in FIELDS if name not in (*ALIASES, "popularity"))
_SHARED = frozenset(_TEXTS) - {"subject", "object"}
_CHOICES = (("subject_article", ARTICLES), ("object_article", ARTICLES), ("subject_number", NUMBERS))
_ID = re.compile(r"[QPL][1-9][0-9]*(-[FS][1-9][0-9]*)?")
"""An id of Wikidata: what stands where nobody has given a thing a label."""
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
"""Turn round what is shown; no label needs them."""


def fact_from(record: Mapping[str, Any], place: str) -> KnownFact:
    """Make a fact of a record with the fields `FIELDS`; unknown fields are not looked at.

    Raises:
        BadFact: a required field is missing or empty, a label is only an id of Wikidata, or a value is not of its type.
    """
    values: dict[str, Any] = {}
    for name in _TEXTS:
        value = record.get(name)
        if value is not None and value != "":
            # Only text can be looked up among the values that were checked: a list has no hash.
            values[name] = _shared(value, name) if name in _SHARED and isinstance(value, str) else _text(value, name)
    for name in REQUIRED:
        if not (text := values.get(name)):
            raise BadFact(f"{name} is empty")
        if text[0] in "QPL" and name != "relation" and _ID.fullmatch(text):
            raise BadFact(f"{name} is an id of Wikidata, not a label")
    for name in ALIASES:
        if value := record.get(name):
            values[name] = _aliases(value, name)
    if value := record.get("popularity"):
        values["popularity"] = _popularity(value)
    for name, known in _CHOICES:
        if name in values and values[name] not in known:
            raise BadFact(f"{name} is none of {', '.join(word or 'nothing' for word in known)}")
    return KnownFact(**values, place=place)


def _text(value: object, name: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadFact(f"{name} is no text")
    return _checked(str(value).strip(), name)


@lru_cache(4096)
def _shared(value: object, name: str) -> str:
    """As `_text`, of a field that has few values: facts share them, and each is checked once."""
    return _text(value, name)


def _checked(text: str, name: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if len(text) > MAX_LABEL:
        raise BadFact(f"{name} has more than {MAX_LABEL} characters")
    if not text.isprintable() and any(map(_is_control, text)):
        raise BadFact(f"{name} holds a control character")
    return text


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Co") or character in _DIRECTIONS


def _aliases(value: object, name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        aliases = [_checked(alias.strip(), name) for alias in value.split("|")]
    elif isinstance(value, list | tuple):
        aliases = [_text(alias, name) for alias in value]
    else:
        raise BadFact(f"{name} is neither a list nor text separated by |")
    return tuple(dict.fromkeys(alias for alias in aliases if alias and not _ID.fullmatch(alias)))


def _popularity(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise BadFact("popularity is no number") from None
    if isinstance(value, bool) or not 0 <= number < float("inf"):
        raise BadFact("popularity is negative or not finite")
    return number


class _Kept(dict[int, int | str | None]):
    """For `str.translate`: letters and digits stay, accents go, all else is a space. Filled as characters come."""

    def __missing__(self, code: int) -> int | str | None:
        character = chr(code)
        self[code] = found = code if character.isalnum() else None if unicodedata.combining(character) else " "
        return found


_KEPT = _Kept()


@lru_cache(maxsize=1 << 17)  # labels are compared over and over
def plain(label: str) -> str:
    """Return a label as it is compared: case folded, accents and punctuation off, spaces single."""
    return plain_cased(label.casefold())


def plain_cased(label: str) -> str:
    """As `plain`, but "Turkey" is not "turkey"."""
    text = label if label.isascii() else unicodedata.normalize("NFKD", label)
    return " ".join(text.translate(_KEPT).split()) or label


def names_of(fact: KnownFact, role: Literal["subject", "object"]) -> tuple[str, ...]:
    """Return the label and the aliases of a fact's subject or object, as they are compared."""
    if role == "subject":
        return tuple(map(plain, (fact.subject, *fact.subject_aliases)))
    return tuple(map(plain, (fact.object, *fact.object_aliases)))
