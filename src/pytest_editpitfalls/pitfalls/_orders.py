"""Cases of many edits: sets of held facts, and several orders of each set."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pytest_editpitfalls.knowledge import Knowledge, KnownFact
from pytest_editpitfalls.knowledge.facts import plain

from ._construction import Candidate, Construction, Draw, Group, NoTarget, edit, fact_line, single

SETS = 5
"""Sets of edits that a suite is built of; each becomes several cases, which are orders of the same edits."""

LENGTH, OTHERS = 100, 20
"""Edits of a case that is built, and facts beside them that nobody edits, where the model holds so many."""

LEAST = 12
"""Held facts that a set needs: ten to edit, and two that stay."""


class OrdersOfEdits(Construction):
    """Sets of held facts with subjects of their own; each case is one order of a set.

    A set has facts of its share of all subjects, one of each, of all relations and objects in turn. The orders of a
    set begin with different
    edits, and go on in an order of the case's own; every order writes the same objects.
    """

    share = 0
    edits_of_all = SETS * LENGTH

    def groups(self, knowledge: Knowledge) -> Iterator[Group]:
        for number in range(1, SETS + 1):
            yield Group(f"set-{number}", f"set-{number}")

    def candidates(self, knowledge: Knowledge, group: Group) -> Iterator[Candidate]:
        pool = _pool(knowledge, int(group.name.removeprefix("set-")) - 1)
        for fact in pool[:LENGTH]:  # what further ones begin would be another set
            beside = tuple(other for other in pool if other is not fact)
            yield Candidate(group, {"edit1": fact}, {}, some=beside, least=LEAST - 1, most=LENGTH + OTHERS - 1)

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        first = candidate.edited
        written = {first: draw(knowledge.objects(first.relation), first)}
        others = min(OTHERS, (1 + len(candidate.some)) // 6)
        waiting = list(candidate.some)
        while len(written) < LENGTH and len(waiting) > others:
            fact = waiting.pop(0)
            with suppress(NoTarget):  # one fact less; what no edit can be made of
                written[fact] = draw(knowledge.objects(fact.relation), fact)
        if len(written) < LEAST - 2:
            raise NoTarget("too few of its facts have an object that could be written")
        later = sorted(list(written)[1:], key=lambda fact: _number(candidate, fact))
        return {
            "edits": [
                edit(knowledge, fact.relation, fact.of, fact.to, written[fact], fact.subject_number)
                for fact in (first, *later)
            ],
            "others": [fact_line(knowledge, fact) for fact in waiting[:others]],
        }


def _pool(knowledge: Knowledge, number: int) -> list[KnownFact]:
    """One fact of each subject that belongs to this set, in turn of the relations and in these of the objects.

    A set is its beginning, so that no relation has more than about a fifth of it and no object more than about a
    twentieth, as far as the facts allow; of equal turn the best known is first.
    """
    of_relation: dict[str, list[tuple[int, KnownFact]]] = defaultdict(list)
    objects: Counter[str] = Counter()
    for fact in sorted(knowledge, key=_known_best):
        share = int.from_bytes(hashlib.sha256(plain(fact.subject).encode()).digest()[:4], "big") % SETS
        if share == number and knowledge.relations[fact.relation].functional and single(knowledge, fact):
            of_relation[fact.relation].append((objects[plain(fact.object)], fact))
            objects[plain(fact.object)] += 1
    turns = []
    for facts in of_relation.values():
        facts.sort(key=lambda each: (each[0], _known_best(each[1])))
        turns += [(place, turn, _known_best(fact), fact) for place, (turn, fact) in enumerate(facts)]
    pool: dict[str, KnownFact] = {}
    for *_, fact in sorted(turns, key=lambda each: each[:3]):
        pool.setdefault(plain(fact.subject), fact)
    return list(pool.values())


def _number(candidate: Candidate, fact: KnownFact) -> bytes:
    """Where a fact stands in the order of a case."""
    return hashlib.sha256(f"{candidate.group.name}/{_key(candidate.edited)}/{_key(fact)}".encode()).digest()


def _known_best(fact: KnownFact) -> tuple[float, str]:
    return (-fact.popularity, _key(fact))


def _key(fact: KnownFact) -> str:
    return f"{fact.relation}|{fact.subject}|{fact.object}"
