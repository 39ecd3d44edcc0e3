"""Cases made of the records of a benchmark's file: what each kind of pitfall can take from them.

Edits of these files are single ones. Where a case needs one more object, it is taken from the objects of the same
relation in the file: neither true of the subject, nor part of another object of the case.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pytest_editpitfalls.cases.case import Case, Edit, Fact, Relation, Row
from pytest_editpitfalls.cases.leaks import contains_label, words
from pytest_editpitfalls.files import MAX_CASES, MAX_TRUE_OBJECTS
from pytest_editpitfalls.pitfalls import pitfall_of
from pytest_editpitfalls.suites.held import BaseFacts

from .prompts import case_name
from .records import PlainEdit, Records

NO_TRUE = "what is true before the edit is not said, or is what the edit writes"
NO_THIRD = "no further object of the relation in the file"
NO_OTHER_SUBJECT = "no further subject of the relation in the file"
REPEATED = "an edit that stands in the file already"


@dataclass(slots=True)
class Feed:
    """What one kind takes from a file.

    Attributes:
        cases: its cases.
        without: reason -> how many edits, chains or facts make no case.
    """

    cases: tuple[Case, ...] = ()
    without: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """Return one line per reason."""
        return [f"{count:,} left out: {reason}" for reason, count in self.without.most_common()]


@dataclass(frozen=True, slots=True)
class _Draft:
    """A case before the facts of the whole file are known."""

    row: Row
    place: int
    relations: tuple[Relation, ...]


class _Pools:
    """The objects and subjects of each relation in a file, and what is true there."""

    def __init__(self, records: Records) -> None:
        self.true: dict[tuple[str, str], set[str]] = {}
        objects: dict[str, dict[str, None]] = {}
        subjects: dict[str, dict[str, None]] = {}
        for edit in records.edits:
            seen = objects.setdefault(edit.relation, {})
            seen |= dict.fromkeys(filter(None, (edit.target_true, edit.target_new)))
            subjects.setdefault(edit.relation, {})[edit.subject] = None
            if edit.target_true:
                self.true.setdefault((edit.relation, edit.subject), set()).add(edit.target_true)
        for several in records.several:
            objects.setdefault(several.relation.id, {}).update(dict.fromkeys(several.objects))
            self.true.setdefault((several.relation.id, several.subject), set()).update(several.objects)
        self._objects = {relation: sorted(found) for relation, found in objects.items()}
        self._subjects = {relation: sorted(found) for relation, found in subjects.items()}

    def other_object(self, relation: str, subject: str, taken: Iterable[str], like: str) -> str | None:
        """An object that is not true of the subject: with as many words as ``like`` where there is one."""
        avoided = {*taken, subject, *self.true.get((relation, subject), ())}
        pool = self._objects.get(relation, [])
        first, length = None, len(words(like))
        for label in _suitable(pool, f"{relation}/{subject}/{like}", avoided):
            if len(words(label)) == length:
                return label
            first = first or label
        return first

    def other_subject(self, edit: PlainEdit) -> str | None:
        """Another subject of the edit's relation, of which what the edit writes is not true."""
        pool = self._subjects.get(edit.relation, [])
        avoided = {edit.subject, edit.target_new, edit.target_true} - {""}
        for subject in _suitable(pool, f"{edit.relation}/{edit.subject}", avoided):
            if edit.target_new not in self.true.get((edit.relation, subject), ()):
                return subject
        return None


_LOOKED_AT = 60


def _suitable(pool: list[str], key: str, avoided: set[str]) -> Iterator[str]:
    """Give the labels of a pool, from a place that the key decides on, that have nothing to do with the avoided."""
    start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % max(len(pool), 1)
    for step in range(min(len(pool), _LOOKED_AT)):
        label = pool[(start + step) % len(pool)]
        if not any(label == other or contains_label(label, other) or contains_label(other, label) for other in avoided):
            yield label


def _edit(edit: PlainEdit) -> Edit:
    return Edit(edit.relation, edit.subject, edit.target_true, edit.target_new)


def _writable(edits: Iterable[PlainEdit], feed: Feed) -> Iterator[PlainEdit]:
    """Give each edit once that replaces something that is known."""
    seen = set()
    for edit in edits:
        key = (edit.relation, edit.subject, edit.target_new)
        if edit.target_true in ("", edit.target_new):
            feed.without[NO_TRUE] += 1
        elif key in seen:
            feed.without[REPEATED] += 1
        else:
            seen.add(key)
            yield edit


def coverage(records: Records, suite: str, source: str) -> Feed:
    """The edit, then a third object over it."""
    feed, pools = Feed(), _Pools(records)

    def drafts() -> Iterator[_Draft]:
        for edit in _writable(records.edits, feed):
            taken = (edit.target_true, edit.target_new)
            third = pools.other_object(edit.relation, edit.subject, taken, edit.target_new)
            if third is None:
                feed.without[NO_THIRD] += 1
                continue
            over = Edit(edit.relation, edit.subject, edit.target_new, third)
            yield _draft("coverage", edit.relation, edit.row, (edit.asked,), edits=(_edit(edit), over))

    return _fed(feed, drafts(), suite, source)


def reverse(records: Records, suite: str, source: str) -> Feed:
    """The edit (s, r, o2), then its inverse (o2, back, another subject)."""
    feed, pools = Feed(), _Pools(records)
    back = {id(inverse.edit): inverse.back for inverse in records.inverses}

    def drafts() -> Iterator[_Draft]:
        for edit in _writable((inverse.edit for inverse in records.inverses), feed):
            relation = back[id(edit)]
            other = pools.other_subject(edit)
            if other is None:
                feed.without[NO_OTHER_SUBJECT] += 1
                continue
            second = Edit(relation.id, edit.target_new, edit.subject, other)
            relations = (edit.asked,) if relation.id == edit.relation else (edit.asked, relation)
            group = f"{edit.relation}>{relation.id}"
            yield _draft("reverse", group, edit.row, relations, edits=(_edit(edit), second))

    if not records.inverses:
        feed.without["no record says what follows from its edit the other way round"] += records.count
    return _fed(feed, drafts(), suite, source)


def composite(records: Records, suite: str, source: str) -> Feed:
    """The edit of a chain's second hop, then another answer to the question of both hops."""
    feed, pools = Feed(), _Pools(records)

    def drafts() -> Iterator[_Draft]:
        seen = set()
        for chain in records.chains:
            edit = chain.edit
            key = (edit.relation, edit.subject, edit.target_new, chain.start, chain.first.id)
            if edit.target_true in ("", edit.target_new):
                feed.without[NO_TRUE] += 1
                continue
            if key in seen:
                feed.without["a chain that stands in the file already"] += 1
                continue
            seen.add(key)
            taken = (edit.target_true, edit.target_new, chain.start)
            third = pools.other_object(edit.relation, edit.subject, taken, edit.target_new)
            if third is None:
                feed.without[NO_THIRD] += 1
                continue
            relations = {relation.id: relation for relation in (chain.whole, chain.first, edit.asked)}
            yield _draft(
                "composite",
                f"{chain.first.id}&{edit.relation}>{chain.whole.id}",
                edit.row,
                tuple(relations.values()),
                edits=(_edit(edit), Edit(chain.whole.id, chain.start, edit.target_true, third)),
                tied=Fact(chain.first.id, chain.start, edit.subject),
            )

    if not records.chains:
        feed.without["no record has a question of two hops whose second hop is edited"] += records.count
    return _fed(feed, drafts(), suite, source)


def round_(records: Records, suite: str, source: str) -> Feed:
    """One of several true objects is edited, and edited back."""
    feed, pools = Feed(), _Pools(records)

    def drafts() -> Iterator[_Draft]:
        seen = set()
        for several in records.several:
            key = (several.relation.id, several.subject)
            objects = several.objects[:MAX_TRUE_OBJECTS]
            edited = several.edited or (objects[0] if objects else "")
            if len(objects) < 2 or edited not in objects:
                feed.without["fewer than two true objects"] += 1
                continue
            if key in seen:
                feed.without["a subject whose objects stand in the file already"] += 1
                continue
            seen.add(key)
            relation, subject = several.relation, several.subject
            new = several.target or pools.other_object(relation.id, subject, objects, edited)
            if new is None or new in objects:
                feed.without["the new object is true" if new else NO_THIRD] += 1
                continue
            edit = Edit(relation.id, subject, edited, new)
            yield _draft("round", relation.id, several.row, (relation,), edits=(edit,), true_objects=objects)

    if not records.several:
        feed.without["no record has a subject with several true objects"] += records.count
    return _fed(feed, drafts(), suite, source)


def _draft(kind: str, group: str, place: int, relations: tuple[Relation, ...], **fields: Any) -> _Draft:
    row = pitfall_of(kind).row.model_construct(None, id="", rule=group, **fields)
    return _Draft(row, place, relations)


def _fed(feed: Feed, drafts: Iterable[_Draft], suite: str, source: str) -> Feed:
    """Name the cases, and ask what the model has to hold among the facts of them all."""
    known: list[_Draft] = []
    for draft in drafts:
        if len(known) == MAX_CASES:
            feed.without[f"more than {MAX_CASES:,} cases"] += 1
        else:
            known.append(draft)
    base = BaseFacts(fact for draft in known for fact in draft.row.base_facts())
    taken: Counter[str] = Counter()
    cases = []
    for draft in known:
        name = case_name(draft.row.rule, draft.place)
        taken[name] += 1
        row = draft.row.model_copy(update={"id": name if taken[name] == 1 else f"{name}-{taken[name]}"})
        cases.append(
            Case(
                suite=suite,
                kind=suite.rpartition("-")[2],
                source=source,
                source_index=draft.place,
                row=row,
                relations=draft.relations,
                held=base.held(row.held_facts()),
            )
        )
    feed.cases = tuple(cases)
    return feed


FEEDS = MappingProxyType[str, Callable[[Records, str, str], Feed]](
    {"coverage": coverage, "reverse": reverse, "composite": composite, "round": round_}
)
"""Kind -> what makes its cases of records."""
