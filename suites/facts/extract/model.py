"""What a source says: facts, and where they are from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from .packages import Packages
from .places import Places
from .wordnet_files import WordNet


@dataclass(frozen=True, slots=True)
class Fact:
    """One row of a table; the fields are its columns, in `tables.COLUMNS`."""

    subject: str
    relation: str
    object: str
    subject_kind: str
    object_kind: str
    popularity: float
    subject_aliases: tuple[str, ...] = ()
    object_aliases: tuple[str, ...] = ()
    subject_article: str = ""
    object_article: str = ""
    subject_number: str = ""
    source: str = ""

    def turned(self, relation: str) -> Fact:
        """The same fact from the other side."""
        return replace(
            self,
            subject=self.object,
            relation=relation,
            object=self.subject,
            subject_kind=self.object_kind,
            object_kind=self.subject_kind,
            subject_aliases=self.object_aliases,
            object_aliases=self.subject_aliases,
            subject_article=self.object_article,
            object_article=self.subject_article,
            subject_number="",
        )


@dataclass(frozen=True, slots=True)
class Material:
    """What sources read: packages, and what more than one of them needs to be understood."""

    packages: Packages
    places: Places
    wordnet: WordNet


@dataclass(frozen=True, slots=True)
class Source:
    """One source of facts; each module of `sources` has one as `SOURCE`.

    Attributes:
        name: key in sources.toml, and the name of the table.
        packages: what it reads, each with its registry ("PyPI" or "npm").
        license: SPDX expression of the data.
        attribution: what the licence asks to be said.
        date: year or day that the data speak of.
        taken: what is taken, in a sentence.
        popularity: what the column measures.
        facts: reads them.
    """

    name: str
    packages: tuple[tuple[str, str], ...]
    license: str
    attribution: str
    date: str
    taken: str
    popularity: str
    facts: Callable[[Material], Iterator[Fact]]
