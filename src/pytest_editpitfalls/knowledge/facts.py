"""One true fact, with what is known of its subject and object."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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

ARTICLES = ("", "the", "a", "an")
NUMBERS = ("", "singular", "plural")


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


def fact_from(record: Mapping[str, Any], place: str) -> KnownFact:
    """Make a fact of a record with the fields `FIELDS`; unknown fields are not looked at.

    Raises:
        BadFact: a required field is missing or empty, or a value is not of its type.
    """
    values: dict[str, Any] = {"place": place}
    for name in FIELDS:
        value = record.get(name)
        if value is None:
            value = ""
        if name in ("subject_aliases", "object_aliases"):
            values[name] = _aliases(value, name)
        elif name == "popularity":
            values[name] = _popularity(value)
        else:
            values[name] = _text(value, name)
    for name, known in (("subject_article", ARTICLES), ("object_article", ARTICLES), ("subject_number", NUMBERS)):
        if values[name] not in known:
            raise BadFact(f"{name} is none of {', '.join(word or 'nothing' for word in known)}")
    return KnownFact(**values)


def _text(value: object, name: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadFact(f"{name} is no text")
    text = unicodedata.normalize("NFC", str(value)).strip()
    if name in REQUIRED and not text:
        raise BadFact(f"{name} is empty")
    if len(text) > MAX_LABEL:
        raise BadFact(f"{name} has more than {MAX_LABEL} characters")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Co") for character in text):
        raise BadFact(f"{name} holds a control character")
    return text


def _aliases(value: object, name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split("|") if value else ()
    if not isinstance(value, list | tuple):
        raise BadFact(f"{name} is neither a list nor text separated by |")
    aliases = (_text(alias, name) for alias in value)
    return tuple(dict.fromkeys(alias for alias in aliases if alias))


def _popularity(value: object) -> float:
    try:
        number = float(value or 0)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise BadFact("popularity is no number") from None
    if not 0 <= number < float("inf"):
        raise BadFact("popularity is negative or not finite")
    return number


def plain(label: str) -> str:
    """Return a label as it is compared: case folded, accents and punctuation off, spaces single."""
    text = unicodedata.normalize("NFKD", label.casefold())
    kept = "".join(c if c.isalnum() else " " for c in text if not unicodedata.combining(c))
    return " ".join(kept.split()) or label.casefold()
