"""Statements whose subjects and objects get their names elsewhere in the file: an index on disk brings them together.

A dump names a thing where it describes it, which may be a hundred million lines after the statement about it.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.knowledge.facts import BadFact, KnownFact, fact_from
from pytest_editpitfalls.knowledge.reading import Reading
from pytest_editpitfalls.knowledge.relations import KnownRelation

_TOGETHER = 10_000
_SEPARATOR = "\x1f"
_CLASSES = 200
"""Classes that are looked at for the kind of a thing."""
_HALVES = re.compile("[\ud800-\udfff]")
_KEPT = 20_000
"""Things whose names stay in memory: countries and classes are asked for again and again."""


@dataclass(frozen=True, slots=True)
class Described:
    """What a file says of a thing; it may say it in several places.

    Attributes:
        label: its name, or "".
        aliases: its other names.
        kinds: ids of the classes that it is an instance of.
        above: ids of the classes that it is a subclass of, where it is one itself.
        popularity: how well known it is.
    """

    label: str = ""
    aliases: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    above: tuple[str, ...] = ()
    popularity: float = 0.0

    def and_also(self, other: Described) -> Described:
        """Return both together. A second label is an alias."""
        label = self.label or other.label
        aliases = (*self.aliases, *other.aliases, *((other.label,) if other.label and other.label != label else ()))
        popularity = max(self.popularity, other.popularity)
        return Described(label, aliases, (*self.kinds, *other.kinds), (*self.above, *other.above), popularity)


class Index:
    """Statements and things, in a database in the directory for temporary files."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._things: list[tuple[str, str, str, str, str, float]] = []
        self._statements: list[tuple[str, str, str, bool, int]] = []

    def add_thing(self, id: str, thing: Described) -> None:
        lists = (_SEPARATOR.join(several) for several in (thing.aliases, thing.kinds, thing.above))
        aliases, kinds, above = map(_storable, lists)
        self._things.append((_storable(id), _storable(thing.label), aliases, kinds, above, thing.popularity))
        if len(self._things) >= _TOGETHER:
            self._write()

    def add_statement(self, subject: str, relation: str, object_: str, *, is_thing: bool, line: int) -> None:
        """Keep a statement; its object is the id of a thing or a text."""
        self._statements.append((_storable(subject), relation, _storable(object_), is_thing, line))
        if len(self._statements) >= _TOGETHER:
            self._write()

    def statements(self) -> Iterator[tuple[str, str, str, bool, int]]:
        """Give subject, relation, object, whether that is a thing, and line; in the order of the file."""
        self._write()
        self._database.execute("CREATE INDEX IF NOT EXISTS by_id ON things (id)")
        yield from self._database.execute("SELECT subject, relation, object, is_thing, line FROM statements")

    def thing(self, id: str) -> Described:
        """Return what is known of a thing; call it after `statements`."""
        found = Described()
        rows = self._database.execute("SELECT label, aliases, kinds, above, popularity FROM things WHERE id = ?", (id,))
        for label, aliases, kinds, above, popularity in rows:
            found = found.and_also(Described(label, _split(aliases), _split(kinds), _split(above), popularity))
        return found

    def _write(self) -> None:
        self._database.executemany("INSERT INTO things VALUES (?, ?, ?, ?, ?, ?)", self._things)
        self._database.executemany("INSERT INTO statements VALUES (?, ?, ?, ?, ?)", self._statements)
        self._things.clear()
        self._statements.clear()


def _storable(text: str) -> str:
    """Half a character, which JSON can hold and a database cannot, becomes a control character: that is counted."""
    return text if text.isascii() else _HALVES.sub("\0", text)


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split(_SEPARATOR)) if text else ()


@contextmanager
def index_of(path: Path) -> Iterator[Index]:
    """Make the index of a file, which is gone afterwards.

    Raises:
        UsageError: there is no room for it on the disk.
    """
    try:
        with (
            tempfile.TemporaryDirectory(prefix="editpitfalls-", ignore_cleanup_errors=True) as directory,
            closing(sqlite3.connect(Path(directory) / "index.sqlite", isolation_level=None)) as database,
        ):
            for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -65536"):
                database.execute(f"PRAGMA {setting}")
            database.execute(
                "CREATE TABLE things (id TEXT, label TEXT, aliases TEXT, kinds TEXT, above TEXT, popularity REAL)"
            )
            database.execute(
                "CREATE TABLE statements (subject TEXT, relation TEXT, object TEXT, is_thing INTEGER, line INTEGER)"
            )
            database.execute("BEGIN")
            yield Index(database)
    except (sqlite3.Error, OSError) as error:
        raise UsageError(
            f"cannot keep an index of the file among the temporary files: {error}",
            where=str(path),
            fix="set TMPDIR to a directory with room for a third of the unpacked file",
        ) from None


def facts_of(
    index: Index, path: Path, reading: Reading, relations: dict[str, tuple[KnownRelation, ...]], **origin: str
) -> Iterator[KnownFact]:
    """Give the facts of the statements that were collected; one without names is counted.

    Args:
        index: with the statements.
        path: the file, for places.
        reading: for language and report.
        relations: those that a statement's relation may be, by what the index calls it; the subject's kind decides.
        origin: further fields of every fact (source, license).
    """
    thing = lru_cache(_KEPT)(index.thing)

    @lru_cache(_KEPT)
    def kinds(ids: tuple[str, ...]) -> list[str]:
        """Labels of classes and of those above them, the nearest first."""
        classes = dict.fromkeys(ids)
        waiting = deque(classes)
        while waiting and len(classes) < _CLASSES:
            above = [id for id in thing(waiting.popleft()).above if id not in classes]
            classes.update(dict.fromkeys(above))
            waiting.extend(above)
        return [label for label in (thing(id).label for id in classes) if label]

    for subject_id, relation_id, object_id, is_thing, line in index.statements():
        place = f"{path.name}:{line}"
        subject = thing(subject_id)
        object_ = thing(object_id) if is_thing else Described(object_id)
        try:
            for role, found in (("subject", subject), ("object", object_)):
                if not found.label:
                    raise BadFact(f"the {role} has no label in language '{reading.language}' in this file")
            relation, subject_kind = _fitting(relations[relation_id], kinds(subject.kinds))
            fact = fact_from(
                {
                    "subject": subject.label,
                    "relation": relation.id,
                    "object": object_.label,
                    "subject_aliases": subject.aliases,
                    "object_aliases": object_.aliases,
                    "subject_kind": subject_kind,
                    "object_kind": _kind(kinds(object_.kinds), relation.object_kinds),
                    "popularity": subject.popularity,
                    **origin,
                },
                place,
            )
        except BadFact as error:
            reading.report.leave_out(str(error), place)
        else:
            yield fact


def _fitting(relations: tuple[KnownRelation, ...], kinds: list[str]) -> tuple[KnownRelation, str]:
    """The first relation that has subjects of one of the kinds, and that kind; else the last one, the general."""
    for relation in relations:
        for kind in kinds:
            if kind in relation.subject_kinds:
                return relation, kind
    return relations[-1], kinds[0] if kinds else ""


def _kind(kinds: list[str], wanted: tuple[str, ...]) -> str:
    return next((kind for kind in kinds if kind in wanted), kinds[0] if kinds else "")
