"""Easy and hard: how close an object lies to the subject's other true objects, inside the model and by its letters.

The *closeness* of an object is the cosine between its vector and the mean vector of the subject's other true objects.
The vector of an object is the mean, over its tokens, of the hidden state after a share of the model's blocks, where the
model reads the rewrite prompt and the object; the mean over all objects asked of the relation is taken from it. Objects
above their relation's median are near ("easy"), the others far ("hard"). The share of an object's character trigrams
that occur in the others is printed beside it: it needs no model.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_editpitfalls.knowledge import KnownFact
from pytest_editpitfalls.knowledge.facts import plain
from pytest_editpitfalls.pitfalls._construction import Candidate

from .asking import Asked
from .settings import BuildSettings
from .wordings import Wordings


@dataclass(frozen=True, slots=True)
class Gap:
    """How near the edited objects of a suite are to the others, in one relation, beside all objects that are held.

    Attributes:
        relation: its id.
        cases: how many cases.
        closeness, closeness_of_all: means of the cosine.
        trigrams, trigrams_of_all: means of the share of trigrams.
    """

    relation: str
    cases: int
    closeness: float
    closeness_of_all: float
    trigrams: float
    trigrams_of_all: float


class Closeness:
    """Measures candidates, relation by relation."""

    def __init__(self, asked: Asked, wordings: Wordings, settings: BuildSettings) -> None:
        self._asked = asked
        self._wordings = wordings
        self._depth = settings.depth

    def of(self, candidates: Sequence[Candidate]) -> dict[str, float]:
        """Return the closeness of each candidate, by its key; all are of one relation.

        One whose object, or all of whose others, the tokenizer cannot write is left out.
        """
        facts: dict[tuple[str, str], KnownFact] = {}
        for candidate in candidates:
            for fact in (candidate.edited, *others(candidate)):
                facts[fact.subject, fact.object] = fact
        place: dict[tuple[str, str], int] = {}
        vectors: list[list[float]] = []
        for (key, _), vector in zip(facts.items(), self._vectors(list(facts.values())), strict=True):
            if vector is not None:
                place[key] = len(vectors)
                vectors.append(vector)
        if not vectors:
            return {}
        centred = np.asarray(vectors, dtype=np.float64)
        centred -= centred.mean(axis=0)
        found = {}
        for candidate in candidates:
            own_place = place.get((candidate.edited.subject, candidate.edited.object))
            their_places = [place[key] for fact in others(candidate) if (key := (fact.subject, fact.object)) in place]
            if own_place is None or not their_places:
                continue
            own, mean = centred[own_place], centred[their_places].mean(axis=0)
            norm = float(np.linalg.norm(own) * np.linalg.norm(mean))
            found[candidate.key] = float(own @ mean) / norm if norm else 0.0
        return found

    def _vectors(self, facts: Sequence[KnownFact]) -> list[list[float] | None]:
        asked = [(self._wordings.prompts(fact)[0], fact.to.in_text) for fact in facts]
        return self._asked.object_vectors(asked, self._depth, self._wordings.of(facts[0]).joiner) if facts else []


def on_side(side: str, closeness: Mapping[str, float], candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates on one side of the median, the ones furthest from it first."""
    if len(closeness) < 2:
        return []
    median = statistics.median(closeness.values())
    sign = 1.0 if side == "near" else -1.0
    kept = [each for each in candidates if each.key in closeness and sign * (closeness[each.key] - median) > 0]
    return sorted(kept, key=lambda each: (-sign * closeness[each.key], each.key))


def gap(
    relation: str, closeness: Mapping[str, float], all_held: Sequence[Candidate], chosen: Sequence[Candidate]
) -> Gap:
    """Return how the chosen candidates of a relation differ from all that are held."""
    measured = [each for each in all_held if each.key in closeness]
    return Gap(
        relation,
        len(chosen),
        *(statistics.fmean(closeness[each.key] for each in part) for part in (chosen, measured)),
        *(statistics.fmean(trigrams(each) for each in part) for part in (chosen, measured)),
    )


def others(candidate: Candidate) -> tuple[KnownFact, ...]:
    """Return the other true objects of a candidate's subject."""
    return next(iter(candidate.others.values()))


def trigrams(candidate: Candidate) -> float:
    """Return the share of the object's character trigrams that occur in the subject's other objects."""
    own = _trigrams(candidate.edited.object)
    theirs = frozenset().union(*(_trigrams(fact.object) for fact in others(candidate)))
    return len(own & theirs) / len(own) if own else 0.0


def _trigrams(label: str) -> frozenset[str]:
    text = f" {plain(label)} "
    return frozenset(text[start : start + 3] for start in range(len(text) - 2))
