"""Which facts cannot be relied on: sources that disagree, circles, labels that stand for two things."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .facts import Key, KnownFact, names_of, plain_cased
from .relations import Relations

ANYTHING = frozenset(("", "thing"))
"""Kinds that tell nothing apart: a food is a thing."""

_SHOWN = 10
"""Labels of a long circle that are shown."""

Sources = Mapping[Key, Collection[str]]
"""Which sources state a fact, where there are several."""


def source_of(fact: KnownFact) -> str:
    """Return the source of a fact; a table without sources is one."""
    return fact.source or fact.place.partition(":")[0]


def disagreements(
    facts: Mapping[Key, KnownFact], sources: Sources, relations: Relations, decided: Collection[tuple[str, str]] = ()
) -> dict[Key, str]:
    """Find facts of functional relations whose sources name different objects.

    Of objects that two sources name, there may be one: then it is kept. Else all of them are found. Several objects of
    one source are no disagreement: see `homonyms`.

    Args:
        facts: all facts.
        sources: of facts of functional relations that several sources state.
        relations: of the facts.
        decided: relation and subject about which somebody has decided.

    Returns:
        Fact -> why it is left out.
    """
    grouped: dict[tuple[str, str], list[Key]] = defaultdict(list)
    for key in facts:
        if relations[key[0]].functional:
            grouped[key[:2]].append(key)
    found: dict[Key, str] = {}
    for group, keys in grouped.items():
        if len(keys) < 2 or group in decided:
            continue
        objects = _same_objects([facts[key] for key in keys])
        stated: dict[int, set[str]] = defaultdict(set)
        by_source: dict[str, set[int]] = defaultdict(set)
        for key, object_ in zip(keys, objects, strict=True):
            for source in sources.get(key) or (source_of(facts[key]),):
                stated[object_].add(source)
                by_source[source].add(object_)
        if not any(one.isdisjoint(other) for one in by_source.values() for other in by_source.values()):
            continue
        agreed = [object_ for object_, stating in stated.items() if len(stating) > 1]
        for key, object_ in zip(keys, objects, strict=True):
            if len(agreed) != 1:
                found[key] = "the sources disagree on the object"
            elif object_ != agreed[0]:
                found[key] = "two other sources agree on another object"
    return found


def _same_objects(facts: Sequence[KnownFact]) -> list[int]:
    """For each fact a number, which is the same where objects have a name in common."""
    numbers: list[int] = []
    named: dict[str, int] = {}
    for fact in facts:
        names = names_of(fact, "object")
        number = next((named[name] for name in names if name in named), len(numbers))
        numbers.append(number)
        for name in names:
            named.setdefault(name, number)
    return numbers


@dataclass(frozen=True, slots=True)
class Circle:
    """Facts of a transitive relation that lead back to where they began.

    Attributes:
        relation: its id.
        labels: one way round, with the first label again at its end.
        facts: every fact between things that lie on circles with these.
    """

    relation: str
    labels: tuple[str, ...]
    facts: tuple[Key, ...]

    def __str__(self) -> str:
        if len(self.labels) <= _SHOWN:
            return " > ".join(self.labels)
        left = len(self.labels) - _SHOWN
        return f"{' > '.join(self.labels[: _SHOWN - 1])} > ... ({left:,} more) > {self.labels[-1]}"


def circles(facts: Mapping[Key, KnownFact], relations: Relations) -> list[Circle]:
    """Find the circles of transitive relations. A symmetric relation runs in circles by its nature: none is found."""
    edges: dict[str, list[Key]] = defaultdict(list)
    for key in facts:
        if relations[key[0]].transitive and not relations[key[0]].symmetric:
            edges[key[0]].append(key)
    return [circle for keys in edges.values() for circle in _circles(keys, facts)]


def _circles(keys: list[Key], facts: Mapping[Key, KnownFact]) -> list[Circle]:
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes = {label: number for number, label in enumerate(dict.fromkeys(end for key in keys for end in key[1:]))}
    ends = np.array([(nodes[key[1]], nodes[key[2]]) for key in keys])
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(nodes), len(nodes)))
    _, component = connected_components(graph, directed=True, connection="strong")
    inside: dict[int, list[Key]] = defaultdict(list)
    for key, (start, end) in zip(keys, ends.tolist(), strict=True):
        if component[start] == component[end]:
            inside[int(component[start])].append(key)
    return [Circle(found[0][0], _way_round(found, facts), tuple(found)) for found in inside.values()]


def _way_round(keys: list[Key], facts: Mapping[Key, KnownFact]) -> tuple[str, ...]:
    """A shortest way along the facts from the first subject back to it, in the labels of the facts."""
    onward: dict[str, list[Key]] = defaultdict(list)
    for key in keys:
        onward[key[1]].append(key)
    start = keys[0][1]
    came: dict[str, Key] = {}
    waiting = deque([start])
    while waiting and start not in came:
        for key in onward[waiting.popleft()]:
            if key[2] not in came:
                came[key[2]] = key
                waiting.append(key[2])
    way = [facts[came[start]].object]
    node = start
    while len(way) == 1 or node != start:
        way.append(facts[came[node]].subject)
        node = came[node][1]
    return tuple(reversed(way))


@dataclass(frozen=True, slots=True)
class Homonym:
    """A label that stands for two things.

    Attributes:
        kinds: of the things that it stands for.
        reason: why that is known, in words.
        dominance: how many times better known the best known of the things is than the next; infinite where nothing is
            known of the next, 1 where nothing is known of either.
    """

    kinds: frozenset[str]
    reason: str
    dominance: float


def homonyms(facts: Iterable[KnownFact], relations: Relations) -> dict[str, Homonym]:
    """Find labels that stand for two things, by each spelling that the facts have.

    Two kinds differ where some relation is asked of both: "Georgia", a country and a state, but not "French", a
    language and a demonym. Things of one kind differ where a source names several objects of a functional relation:
    "Santiago" is in Chile and in the Philippines. Case tells apart ("Turkey", "turkey"), except at the beginning of a
    sentence: so it is the lower-case label that is a homonym.
    """
    kinds: dict[str, dict[str, float]] = defaultdict(dict)
    labels: dict[str, dict[str, None]] = defaultdict(dict)
    objects: dict[tuple[str, str, str], list[KnownFact]] = defaultdict(list)
    for fact in facts:
        name = plain_cased(fact.subject)
        labels[name][fact.subject] = None
        kinds[name][fact.subject_kind] = max(fact.popularity, kinds[name].get(fact.subject_kind, 0))
        other = plain_cased(fact.object)
        labels[other][fact.object] = None
        kinds[other].setdefault(fact.object_kind, 0)
        if relations[fact.relation].functional:
            objects[name, fact.relation, fact.source].append(fact)
    found: dict[str, Homonym] = {}
    akin = _asked_alike(relations)
    for name, own in kinds.items():
        for other in dict.fromkeys((name, name[:1].upper() + name[1:])):
            for one in own:
                for two in kinds.get(other, {}):
                    if one != two and two in akin.get(one, ()) and name not in found:
                        words = f"both a thing of kind '{one}' and one of kind '{two}' are called so"
                        found[name] = Homonym(frozenset((one, two)), words, _dominance([own[one], kinds[other][two]]))
    for (name, relation, _), several in objects.items():
        if len(several) > 1 and name not in found and len(set(_same_objects(several))) > 1:
            places = " and ".join(sorted({fact.object for fact in several})[:3])
            found[name] = Homonym(
                frozenset(fact.subject_kind for fact in several),
                f"its '{relations[relation].label}' is {places}",
                _dominance([fact.popularity for fact in several]),
            )
    return {label: homonym for name, homonym in found.items() for label in labels[name]}


def _asked_alike(relations: Relations) -> dict[str, set[str]]:
    """For each kind of subject the others that some relation, or its like for other subjects ("P36-state"), has."""
    together: dict[str, set[str]] = defaultdict(set)
    for id in relations:
        base = id.rpartition("-")[0]
        together[base if base in relations else id].update(relations[id].subject_kinds)
    akin: dict[str, set[str]] = defaultdict(set)
    for kinds in together.values():
        for kind in kinds - ANYTHING:
            akin[kind] |= kinds - ANYTHING - {kind}
    return akin


def _dominance(popularities: Sequence[float]) -> float:
    first, second = sorted(popularities, reverse=True)[:2]
    if second:
        return first / second
    return float("inf") if first else 1.0
