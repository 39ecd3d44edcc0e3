"""New objects: of the right type, alike in length and fame, and certainly not true."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence

from pytest_editpitfalls.cases.leaks import contains_label, leaks
from pytest_editpitfalls.knowledge import Knowledge, KnownFact, Thing
from pytest_editpitfalls.knowledge.facts import plain
from pytest_editpitfalls.pitfalls._construction import Candidate, NoTarget, is_one_of

from .asking import Asked
from .settings import BuildSettings

FAME = (1.0, 2.0, math.inf)
"""How many orders of magnitude old and new object may be apart in popularity: the first bound that leaves a choice."""

CHOICE = 8
"""So many objects are a choice; with fewer, the next bound is tried."""

ANCESTORS = 6
"""Steps up a transitive relation that make two things too closely related: "dog" and "animal"."""


class Targets:
    """Draws new objects for a suite's cases.

    A draw takes, of all objects that may be drawn, the one whose digest with seed, suite and case is smallest. So a
    further object changes only the draws that it wins.

    Args:
        homonyms: labels that nothing is drawn of: an edit may be about the new object as well (`pitfalls.reverse`).
        edits_of_all: as of the construction.
        leaks_with: whether a new object would be given away by its question; asked where many edits make one case.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        settings: BuildSettings,
        asked: Asked,
        suite: str,
        homonyms: Container[str] = (),
        edits_of_all: int = 0,
        leaks_with: Callable[[KnownFact, Thing], bool] = lambda fact, thing: False,
    ) -> None:
        self._knowledge = knowledge
        self._homonyms = homonyms
        self._settings = settings
        self._asked = asked
        self._suite = suite
        self._used: Counter[str] = Counter()
        self._by_fact = edits_of_all > 0
        self._leaks_with = leaks_with
        self._most = max(1, round(settings.per_target * (edits_of_all or settings.cases)))
        self._drawn: dict[tuple[str, str, str], Thing] = {}
        self._ancestors: dict[str, frozenset[str]] = {}

    def use(self, labels: Sequence[str]) -> None:
        """Count objects that a case writes, as they stand in a sentence."""
        if self._by_fact:
            return  # counted when it was drawn
        self._used.update(map(plain, labels))

    def drawing(self, candidate: Candidate) -> Callable[..., Thing]:
        """Return the draw (`pitfalls._construction.Draw`) for one case."""
        number = 0

        def draw(pool: Sequence[Thing], fact: KnownFact, *, unlike: Sequence[Thing] = ()) -> Thing:
            nonlocal number
            number += 1
            key = (fact.relation, fact.subject, fact.object)
            if key in self._drawn:
                return self._drawn[key]
            of = "/".join(key) if self._by_fact else f"{candidate.key}/{number}"
            seed = f"{self._settings.seed}/{self._suite}/{of}"
            turned = self._true_by_inverse(fact)
            options = [thing for thing in pool if plain(thing.label) not in turned and self._fits(thing, fact, unlike)]
            if self._by_fact:
                options = [thing for thing in options if not self._leaks_with(fact, thing)]
            drawn = min(
                self._alike(options, fact), key=lambda thing: hashlib.sha256(f"{seed}/{thing.label}".encode()).digest()
            )
            if self._by_fact:
                self._drawn[key] = drawn
                self._used[plain(drawn.in_text)] += 1
            return drawn

        return draw

    def _fits(self, thing: Thing, fact: KnownFact, unlike: Sequence[Thing]) -> bool:
        if fact.object_kind and thing.kind and thing.kind != fact.object_kind:
            return False
        if thing.label in self._homonyms:
            return False
        if self._used[plain(thing.in_text)] >= self._most:
            return False
        if is_one_of(thing, self._knowledge.of(fact.relation, fact.subject)):
            return False
        if leaks(fact.subject, thing.label) or leaks(thing.label, fact.subject):
            return False
        return not any(self._near(thing, other) for other in (fact.to, *unlike))

    def _true_by_inverse(self, fact: KnownFact) -> frozenset[str]:
        """What other facts make true of the subject, said the other way round: of B, where A is said to border B."""
        relation = self._knowledge.relations.get(fact.relation)
        turned = [fact.relation] if relation is not None and relation.symmetric else []
        turned += [other for _, other in self._knowledge.inverses(fact.relation)]
        return frozenset(plain(known.subject) for other in turned for known in self._knowledge.to(other, fact.subject))

    def _near(self, thing: Thing, other: Thing) -> bool:
        """Whether two things are one, nearly one, or one above the other."""
        if contains_label(thing.label, other.label) or contains_label(other.label, thing.label):
            return True
        if not {plain(name) for name in thing.names}.isdisjoint(plain(name) for name in other.names):
            return True
        return plain(thing.label) in self._above(other.label) or plain(other.label) in self._above(thing.label)

    def _above(self, label: str) -> frozenset[str]:
        """What a thing is a kind or a part of, some steps up."""
        if label not in self._ancestors:
            found: set[str] = set()
            level = {plain(label)}
            for _ in range(ANCESTORS):
                level = {above for each in level for above in self._parents(each)} - found
                found |= level
            self._ancestors[label] = frozenset(found)
        return self._ancestors[label]

    def _parents(self, label: str) -> Iterator[str]:
        for relation in self._knowledge.relations.values():
            if relation.transitive:
                yield from (plain(fact.object) for fact in self._knowledge.of(relation.id, label))

    def _alike(self, options: list[Thing], fact: KnownFact) -> list[Thing]:
        """The options that are as long as the old object in tokens and about as well known."""
        joiner = self._knowledge.relations[fact.relation].joiner
        length = self._asked.tokens(fact.to.in_text, joiner)
        if length is None:
            raise NoTarget("the tokenizer cannot write the object")
        by_difference: dict[int, list[Thing]] = {}
        for thing in options:
            count = self._asked.tokens(thing.in_text, joiner)
            if count is not None:
                by_difference.setdefault(abs(count - length), []).append(thing)
        kept: list[Thing] = []
        for difference in range(self._settings.token_difference + 1):
            kept += by_difference.get(difference, ())
            for bound in FAME:
                known = [thing for thing in kept if abs(_fame(thing.popularity) - _fame(fact.popularity)) <= bound]
                if len(known) >= CHOICE:
                    return known
        if not kept:
            raise NoTarget("no object of the same kind and length is left to write")
        return kept


def _fame(popularity: float) -> float:
    return math.log10(1.0 + popularity)
