"""Facts as RDF N-Triples, as DBpedia, YAGO and Wikidata publish them. Needs pyoxigraph.

A triple is a fact where the end of its predicate's IRI is the id or a name of a relation (`.../prop/direct/P36`,
`.../ontology/officialLanguage`). Its subject and object are named by `rdfs:label` and the like, anywhere in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.knowledge.facts import BadFact, KnownFact
from pytest_editpitfalls.knowledge.reading import FactReader, Reading
from pytest_editpitfalls.knowledge.relations import KnownRelation

from ._index import Described, Index, facts_of, index_of
from ._text import LONGEST_LINE, lines_of
from ._values import moment, unsigned, variants

_RDF, _RDFS, _SKOS, _SCHEMA = (
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "http://www.w3.org/2000/01/rdf-schema#",
    "http://www.w3.org/2004/02/skos/core#",
    "schema.org/",
)
LABELS = (f"{_RDFS}label", f"{_SKOS}prefLabel", f"http://{_SCHEMA}name", f"https://{_SCHEMA}name")
ALIASES = (f"{_SKOS}altLabel", f"http://{_SCHEMA}alternateName", f"https://{_SCHEMA}alternateName")
CLASSES = {
    f"{_RDF}type": "kinds",
    "http://www.wikidata.org/prop/direct/P31": "kinds",
    f"{_RDFS}subClassOf": "above",
    "http://www.wikidata.org/prop/direct/P279": "above",
}
POPULARITY = "http://wikiba.se/ontology#sitelinks"
_PAGES = "https://www.wikidata.org/wiki/Special:EntityData/"
_THINGS = "http://www.wikidata.org/entity/"

_NAMELESS = "the subject or object is a blank node, which has no name"

_TOGETHER = 1 << 19
"""Characters that are parsed at once."""


def read_n_triples(path: Path, reading: Reading) -> Iterator[KnownFact]:
    """Give the facts of an N-Triples file. Memory does not grow with the file: what is collected goes to the disk.

    Raises:
        UsageError: pyoxigraph is not installed, the file cannot be read, or the disk is full.
    """
    try:
        import pyoxigraph
    except ImportError:
        raise UsageError(
            "reading RDF needs pyoxigraph", where=str(path), fix='pip install "pytest-editpitfalls[rdf]"'
        ) from None
    with index_of(path) as index:
        collector = _Collector(path, reading, index, pyoxigraph)
        for line, triple in _triples(path, reading, pyoxigraph):
            collector.add(line, triple)
        yield from facts_of(index, path, reading, collector.relations, source=path.name)


def _triples(path: Path, reading: Reading, rdf: Any) -> Iterator[tuple[int, Any]]:
    """Give the triples with their lines. A line that is wrong is counted; the parser alone would lose the next, too."""
    lines: list[tuple[int, str]] = []
    size = 0
    for number, line in lines_of(path, reading.progress):
        if line is None:
            reading.report.leave_out(f"the line has more than {LONGEST_LINE:,} bytes", f"{path.name}:{number}")
        elif (text := line.strip()) and not text.startswith("#"):
            lines.append((number, text))
            size += len(text)
            if size >= _TOGETHER:
                yield from _parsed(lines, path, reading, rdf)
                lines, size = [], 0
    yield from _parsed(lines, path, reading, rdf)


def _parsed(lines: list[tuple[int, str]], path: Path, reading: Reading, rdf: Any) -> Iterator[tuple[int, Any]]:
    form = rdf.RdfFormat.N_TRIPLES
    try:
        triples = list(rdf.parse("\n".join(text for _, text in lines), format=form))
    except SyntaxError:
        triples = []
    if len(triples) == len(lines):  # else one line is wrong, or holds two triples: one by one
        yield from zip((number for number, _ in lines), triples, strict=True)
        return
    for number, text in lines:
        yield from ((number, triple) for triple in _of_line(text, f"{path.name}:{number}", reading, rdf))


def _of_line(text: str, place: str, reading: Reading, rdf: Any) -> list[Any]:
    try:
        return list(rdf.parse(text, format=rdf.RdfFormat.N_TRIPLES))
    except SyntaxError:
        reading.report.leave_out("the line is not valid N-Triples", place)
        return []


class _Collector:
    """Puts triples into the index, each by what its predicate says.

    Attributes:
        relations: for `facts_of`.
    """

    def __init__(self, path: Path, reading: Reading, index: Index, rdf: Any) -> None:
        self.relations: dict[str, tuple[KnownRelation, ...]] = {}
        self._path, self._reading, self._index, self._rdf = path, reading, index, rdf
        self._by_predicate: dict[str, str] = {}

    def add(self, line: int, triple: Any) -> None:
        predicate = triple.predicate.value
        known = predicate in LABELS or predicate in ALIASES or predicate in CLASSES or predicate == POPULARITY
        relation = self._relation(predicate)
        try:
            if not (known or relation):
                raise BadFact("the predicate is no relation that there are prompts for")
            if not isinstance(triple.subject, self._rdf.NamedNode):
                raise BadFact(_NAMELESS)
            if known:
                self._describe(triple.subject.value, predicate, triple.object)
            if relation:
                self._statement(triple, relation, line)
        except BadFact as error:
            self._reading.report.leave_out(str(error), f"{self._path.name}:{line}")

    def _describe(self, subject: str, predicate: str, object_: Any) -> None:
        """Take in what is said of a thing besides facts; nobody misses a label in another language."""
        if predicate in CLASSES:
            if isinstance(object_, self._rdf.NamedNode):
                classes = (object_.value,)
                thing = Described(above=classes) if CLASSES[predicate] == "above" else Described(kinds=classes)
                self._index.add_thing(subject, thing)
        elif isinstance(object_, self._rdf.Literal) and (text := object_.value.strip()):
            if predicate == POPULARITY:
                if text.isdecimal() and len(text) < 10:
                    self._index.add_thing(subject.replace(_PAGES, _THINGS), Described(popularity=float(text)))
            elif self._reads(object_):
                thing = Described(label=text) if predicate in LABELS else Described(aliases=(text,))
                self._index.add_thing(subject, thing)

    def _statement(self, triple: Any, relation: str, line: int) -> None:
        is_thing = isinstance(triple.object, self._rdf.NamedNode)
        if not is_thing and not isinstance(triple.object, self._rdf.Literal):
            raise BadFact(_NAMELESS)
        text = triple.object.value if is_thing else self._literal(triple.object, relation)
        self._index.add_statement(triple.subject.value, relation, text, is_thing=is_thing, line=line)

    def _literal(self, literal: Any, relation: str) -> str:
        """The text of a literal as it stands in a sentence."""
        if not self._reads(literal):
            raise BadFact(f"the object is not in language '{self._reading.language}'")
        datatype = literal.datatype.value.rpartition("#")[2]
        if datatype in ("dateTime", "date", "gYear"):
            # Wikidata writes a date of which only the year is known as the first of January.
            exact = not re.search(r"^[+-]?\d+(-01-01(T00:00:00)?|$)", literal.value.removesuffix("Z"))
            return moment(literal.value, self.relations[relation], exact_to_the_day=exact)
        return unsigned(literal.value) if datatype in ("decimal", "integer") else str(literal.value)

    def _reads(self, literal: Any) -> bool:
        tag = (literal.language or "").lower()
        return tag in ("", "mul", self._reading.language) or tag.startswith(f"{self._reading.language}-")

    def _relation(self, predicate: str) -> str:
        """The id of a predicate's relation, or ""."""
        if (known := self._by_predicate.get(predicate)) is None:
            known = name = _ending(predicate)
            found = variants(self._reading.relations, name)
            if found:
                self.relations[name] = found
            else:
                known = ""
            if len(self._by_predicate) < 100_000:
                self._by_predicate[predicate] = known
        return known


def _ending(iri: str) -> str:
    return unquote(re.split(r"[/#:]", iri.rstrip("/#"))[-1])


READER = FactReader(name="N-Triples", suffixes=(".nt",), read=read_n_triples)
