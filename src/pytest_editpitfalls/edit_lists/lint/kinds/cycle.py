"""Edits that close a circle in a relation where none can be: part of, kind of, located in."""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_editpitfalls.edit_lists.lint.finding import Check, Finding, in_order
from pytest_editpitfalls.edit_lists.planned import PlannedEdit
from pytest_editpitfalls.edit_lists.world import World
from pytest_editpitfalls.knowledge import KnownRelation


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of a transitive relation, by an edit or a fact: the keys of its ends, and what the second is called."""

    start: str
    end: str
    label: str
    edit: PlannedEdit | None = None


def _find(world: World) -> Iterator[Finding]:
    told: set[frozenset[str]] = set()
    for relation in world.knowledge.relations.values():
        if not relation.transitive or relation.symmetric:
            continue
        for way in _circles(world, relation):
            edits = in_order(*(step.edit for step in way if step.edit is not None))
            if (key := frozenset(edit.id for edit in edits)) not in told:
                told.add(key)
                labels = [way[-1].label, *(step.label for step in way)]
                yield Finding("conflict", edits, f"a circle of '{relation.label}': {' > '.join(labels)}")


def _circles(world: World, relation: KnownRelation) -> Iterator[list[_Step]]:
    """Give for each edit that closes a circle the shortest one; a circle of facts alone is no edit's fault."""
    written = list(_written(world, relation))
    if not written:
        return
    known = list(_known(world, relation))
    part_of = _components(written + known)
    inside: dict[str, list[_Step]] = defaultdict(list)
    for step in written + known:
        if part_of[step.start] == part_of[step.end]:
            inside[step.start].append(step)
    before = _components(known)
    for step in written:
        if part_of[step.start] != part_of[step.end]:
            continue
        ends = before.get(step.start), before.get(step.end)
        if ends[0] is not None and ends[0] == ends[1] and step.start != step.end:
            continue
        yield [step, *_way(inside, step.end, step.start)]


def _turned(world: World, relation: KnownRelation) -> list[str]:
    """Return the transitive relations that say the same the other way round."""
    return [mirror.relation.id for mirror in world.mirrors(relation.id) if mirror.relation.transitive]


def _written(world: World, relation: KnownRelation) -> Iterator[_Step]:
    turned = _turned(world, relation)
    for edit, other, subject, target in world.known:
        if other.id == relation.id:
            yield _Step(subject, target, edit.target_new, edit)
        elif other.id in turned:
            yield _Step(target, subject, edit.subject, edit)


def _known(world: World, relation: KnownRelation) -> Iterator[_Step]:
    turned = map(world.knowledge.facts, _turned(world, relation))
    for fact in itertools.chain(world.knowledge.facts(relation.id), *turned):
        if world.stays(fact):
            subject, object_ = world.subject_of(fact), world.object_of(fact)
            if fact.relation == relation.id:
                yield _Step(subject, object_, fact.object)
            else:
                yield _Step(object_, subject, fact.subject)


def _components(steps: list[_Step]) -> dict[str, int]:
    """Return the number of each thing's strong component: two things of one lead to each other."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    places = {thing: place for place, thing in enumerate(dict.fromkeys(e for s in steps for e in (s.start, s.end)))}
    if not places:
        return {}
    ends = ([places[step.start] for step in steps], [places[step.end] for step in steps])
    graph = coo_array((np.ones(len(steps), dtype=np.int8), ends), shape=(len(places), len(places)))
    _, numbers = connected_components(graph, directed=True, connection="strong")
    return dict(zip(places, map(int, numbers), strict=True))


def _way(steps: dict[str, list[_Step]], start: str, end: str) -> list[_Step]:
    """Return the shortest way inside a component; nothing where it starts at its end."""
    came: dict[str, _Step] = {}
    waiting = deque([start])
    while end != start and end not in came:
        for step in steps[waiting.popleft()]:
            if step.end not in came and step.end != start:
                came[step.end] = step
                waiting.append(step.end)
    way: list[_Step] = []
    while end != start:
        way.append(came[end])
        end = came[end].start
    return way[::-1]


CHECK = Check("cycle", "edits close a circle", _find)
