"""Facts from Wikidata's JSON dumps: an array with one entity per line, or one entity per line alone.

A statement is a fact where its property is the id of a relation. Of a property's statements the preferred ones count,
or else the normal ones; never a deprecated one, and none that has an end. Sitelinks are the popularity.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import MAX_FILE_BYTES
from pytest_editpitfalls.knowledge.facts import BadFact, KnownFact
from pytest_editpitfalls.knowledge.reading import FactReader, Reading
from pytest_editpitfalls.knowledge.relations import KnownRelation

from ._index import Described, Index, facts_of, index_of
from ._text import bytes_of, decoded, head_of, lines_of
from ._values import moment, unsigned, variants

LONGEST_ENTITY = 64 << 20
"""Bytes of an entity's line; the largest one of Wikidata has some four million."""
INSTANCE_OF, SUBCLASS_OF, END_TIME = "P31", "P279", "P582"
_PROPERTY = re.compile(r"P[1-9]\d*(?=-|$)")
_ENTITY = re.compile(rb'"(claims|labels|sitelinks|entities)"\s*:\s*[\[{]')
_PER_YEAR = 9
"""Precision of a time value: a smaller number is a decade or more."""


def recognises(head: bytes) -> bool:
    """Whether a file that begins like this holds entities of Wikidata."""
    return head.lstrip(b" \t\r\n[").startswith(b"{") and _ENTITY.search(head) is not None


def read_wikidata(path: Path, reading: Reading) -> Iterator[KnownFact]:
    """Give the facts of a dump. Memory does not grow with it: what is collected goes to the disk.

    Raises:
        UsageError: the file cannot be read, breaks off or holds no entities, no relation has an id of Wikidata, or the
            disk is full.
    """
    ids = (_PROPERTY.match(name) for name in reading.relations)
    properties = {id[0]: variants(reading.relations, id[0]) for id in ids if id is not None}
    if not properties:
        raise UsageError(
            "a dump of Wikidata is read by property, and no relation has an id of Wikidata",
            where=str(path),
            fix=f"call the table of a relation in {reading.relations.source} by its property, for instance [P36]",
        )
    with index_of(path) as index:
        collector = _Collector(path, reading, index, properties)
        items = 0
        for line, entity in _entities(path, reading):
            items += collector.add(line, entity)
        if not items:
            raise UsageError(
                "there is not one item of Wikidata",
                where=str(path),
                fix="give a JSON dump of entities, or facts as .jsonl",
            )
        yield from facts_of(index, path, reading, properties, source="Wikidata", license="CC0-1.0")


def _entities(path: Path, reading: Reading) -> Iterator[tuple[int, Any]]:
    if not _by_line(path):
        yield from ((1, entity) for entity in _whole(path, reading))
        return
    opened = closed = False
    for number, line in lines_of(path, reading.progress, LONGEST_ENTITY):
        place = f"{path.name}:{number}"
        if line is None:
            reading.report.leave_out(f"the entity has more than {LONGEST_ENTITY:,} bytes", place)
            continue
        text = line.strip()
        if text.startswith("[") and not opened and not closed:
            opened, text = True, text[1:].lstrip()
        if opened and text.endswith("]"):
            closed, text = True, text[:-1]
        if text := text.rstrip().rstrip(","):
            try:
                # An array may stand on one line.
                entities = json.loads(f"[{text}]")
            except (ValueError, RecursionError):
                reading.report.leave_out("the line is not valid JSON", place)
            else:
                yield from ((number, entity) for entity in entities)
    if opened and not closed:
        raise UsageError(
            "the file breaks off: the array of entities does not end", where=str(path), fix="fetch the dump again"
        )


def _by_line(path: Path) -> bool:
    """Whether the file has one entity per line; so the dumps are, and only so can large ones be read."""
    start = head_of(path).lstrip(b" \t\r\n[")
    line, _, more = start.partition(b"\n")
    if start.startswith(b'{"entities"'):
        return False
    if not more:  # the first line is the only one, or longer than what was read
        return True
    try:
        json.loads(b"[" + line.strip().rstrip(b"]").rstrip(b",") + b"]")
    except ValueError:
        return False
    return True


def _whole(path: Path, reading: Reading) -> list[Any]:
    """The entities of a JSON file that is not written line by line."""
    with bytes_of(path, reading.progress) as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(
            f"more than {MAX_FILE_BYTES >> 20} MiB of entities that do not stand one per line",
            where=str(path),
            fix="write one entity per line, for instance with: jq -c '.[]'",
        )
    try:
        content = json.loads(decoded(data, path))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"not valid JSON: {error}", where=str(path), fix="fetch the file again; it may break off"
        ) from None
    if isinstance(content, dict):
        content = list(content["entities"].values()) if isinstance(content.get("entities"), dict) else [content]
    return list(content) if isinstance(content, list) else []


class _Collector:
    """Puts entities and their statements into the index."""

    def __init__(
        self, path: Path, reading: Reading, index: Index, properties: dict[str, tuple[KnownRelation, ...]]
    ) -> None:
        self._path, self._index, self._properties = path, index, properties
        self._report, self._language = reading.report, reading.language

    def add(self, line: int, entity: Any) -> bool:
        """Take in an entity; False: it is no item."""
        place = f"{self._path.name}:{line}"
        if not isinstance(entity, dict) or not isinstance(id := entity.get("id"), str):
            self._report.leave_out("the line is no entity of Wikidata", place)
            return False
        if not id.startswith("Q"):  # properties and lexemes; no facts are told of them
            return False
        claims = _table(entity, "claims")
        self._index.add_thing(
            id,
            Described(
                label=self._text(_table(entity, "labels")),
                aliases=self._aliases(entity),
                kinds=self._classes(claims, INSTANCE_OF),
                above=self._classes(claims, SUBCLASS_OF),
                popularity=float(len(_table(entity, "sitelinks"))),
            ),
        )
        other = 0
        for property, statements in claims.items():
            if property not in self._properties:
                other += len(statements) if isinstance(statements, list) else 1
                continue
            for value, is_thing in self._values(claims, property, place):
                self._index.add_statement(id, property, value, is_thing=is_thing, line=line)
        if other:
            self._report.leave_out("the property is no relation that there are prompts for", place, other)
        return True

    def _text(self, texts: dict[str, Any]) -> str:
        """The text in the language that is read, or in the one that stands for all ("mul")."""
        for language in (self._language, "mul"):
            text = texts.get(language)
            if isinstance(text, dict) and isinstance(text.get("value"), str):
                return str(text["value"]).strip()
        return ""

    def _aliases(self, entity: dict[str, Any]) -> tuple[str, ...]:
        known = _table(entity, "aliases")
        texts = (text for language in (self._language, "mul") for text in _list(known, language))
        return tuple(
            text["value"].strip() for text in texts if isinstance(text, dict) and isinstance(text.get("value"), str)
        )

    def _classes(self, claims: dict[str, Any], property: str) -> tuple[str, ...]:
        return tuple(value for value, is_thing in self._values(claims, property, None) if is_thing)

    def _values(self, claims: dict[str, Any], property: str, place: str | None) -> Iterator[tuple[str, bool]]:
        """Give the values that count of a property. Without a place, what does not count is not counted, either."""
        by_rank: dict[str, list[Any]] = {"preferred": [], "normal": []}
        if property in claims and not isinstance(claims[property], list):
            self._leave_out("the statement has no rank", place)
        for statement in _list(claims, property):
            rank = str(statement.get("rank")) if isinstance(statement, dict) else ""
            if rank not in by_rank:
                reason = "the statement is deprecated" if rank == "deprecated" else "the statement has no rank"
                self._leave_out(reason, place)
            elif _ended(statement):
                self._leave_out("the statement is outdated (it has an end time)", place)
            else:
                by_rank[rank].append(statement)
        if by_rank["preferred"] and by_rank["normal"]:
            self._leave_out("another statement is preferred to it", place, len(by_rank["normal"]))
        for statement in by_rank["preferred"] or by_rank["normal"]:
            if (value := self._value_or_none(statement, property, place)) is not None:
                yield value

    def _value_or_none(self, statement: dict[str, Any], property: str, place: str | None) -> tuple[str, bool] | None:
        try:
            return self._value(statement, property)
        except BadFact as error:
            self._leave_out(str(error), place)
            return None

    def _value(self, statement: dict[str, Any], property: str) -> tuple[str, bool]:
        snak = _table(statement, "mainsnak")
        if snak.get("snaktype") != "value":
            raise BadFact("the object is unknown, or there is none")
        found = _table(snak, "datavalue")
        kind, value = found.get("type"), found.get("value")
        if kind == "string" and isinstance(value, str):
            return value, False
        if isinstance(value, dict):
            if kind == "wikibase-entityid":
                id = value.get("id", f"Q{value.get('numeric-id')}")
                return str(id), True
            if kind == "monolingualtext":
                if value.get("language") not in (self._language, "mul"):
                    raise BadFact(f"the object is not in language '{self._language}'")
                return str(value.get("text") or ""), False
            if kind == "quantity" and value.get("unit") == "1" and isinstance(amount := value.get("amount"), str):
                return unsigned(amount), False
            if kind == "time" and isinstance(text := value.get("time"), str):
                precision = value.get("precision")
                if not isinstance(precision, int) or precision < _PER_YEAR:
                    raise BadFact("the object is a date that is not exact to the year")
                relations = self._properties.get(property, ())
                return moment(text, relations, exact_to_the_day=precision > _PER_YEAR), False
        raise BadFact(
            "the object is of a kind that does not stand in a sentence (a quantity with a unit, a place, ...)"
        )

    def _leave_out(self, reason: str, place: str | None, count: int = 1) -> None:
        if place is not None:
            self._report.leave_out(reason, place, count)


def _ended(statement: dict[str, Any]) -> bool:
    qualifiers = _table(statement, "qualifiers")
    return END_TIME in qualifiers and not all(
        isinstance(end, dict) and end.get("snaktype") == "novalue" for end in _list(qualifiers, END_TIME) or (None,)
    )


def _table(of: dict[str, Any], name: str) -> dict[str, Any]:
    """A field that is an object; Wikidata writes an empty one as an empty array."""
    found = of.get(name)
    return found if isinstance(found, dict) else {}


def _list(of: dict[str, Any], name: str) -> list[Any]:
    found = of.get(name)
    return found if isinstance(found, list) else []


READER = FactReader(
    name="Wikidata dump", suffixes=(".json", ".jsonl", ".ndjson"), read=read_wikidata, recognises=recognises
)
