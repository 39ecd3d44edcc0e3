"""What follows from an edit by the rules: what it ought to change as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_editpitfalls.knowledge import KnownFact, KnownRelation, Rule, Thing
from pytest_editpitfalls.knowledge.facts import plain

from .planned import PlannedEdit
from .world import Mirror, World


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What followed from a fact, and what follows from the edit that replaces it.

    Attributes:
        rule: the composition that it follows by.
        subject: its subject.
        relation: its relation.
        old: the object that followed.
        new: the object that follows now; None where nothing is known to.
        tie: the fact that links the edit's subject with the conclusion's; None where that is what the edit changes.
    """

    rule: Rule
    subject: Thing
    relation: KnownRelation
    old: Thing
    new: Thing | None
    tie: KnownFact | None


def conclusions(world: World, edit: PlannedEdit, replaced: KnownFact) -> Iterator[Conclusion]:
    """Give what followed from a fact that an edit replaces, where no edit of the list writes it anyway.

    Facts that are known to be otherwise than a rule says are left out, and so is what follows as before. What follows
    by two rules is given once.
    """
    seen: set[tuple[str, str, str]] = set()
    for each in _all_conclusions(world, edit, replaced):
        key = (each.relation.id, plain(each.subject.label), plain(each.old.label))
        if key not in seen:
            seen.add(key)
            yield each


def _all_conclusions(world: World, edit: PlannedEdit, replaced: KnownFact) -> Iterator[Conclusion]:
    subject, object_, target = world.subject_of(replaced), world.object_of(replaced), world.target(edit)
    new = world.names.object_in_text(edit.relation, edit.target_new)
    for rule in world.compositions.get(("first", replaced.relation), ()):
        for tie in _tied(world, rule, subject, object_):
            yield Conclusion(rule, tie.of, world.knowledge.relations[rule.second], replaced.to, new, tie)
    for rule in world.compositions.get(("tied", replaced.relation), ()):
        if world.edits_of(rule.second, subject) or not world.fits(rule, subject, object_):
            continue
        now = world.now(rule.first, target)
        stays = {each.key for each in now}
        follows = next((each.thing for each in now), None)
        for last in world.facts_of(rule.first, object_):
            if world.object_of(last) not in stays and _is_so(world, rule, subject, world.object_of(last)):
                yield Conclusion(rule, replaced.of, world.knowledge.relations[rule.second], last.to, follows, None)


def undone_inverses(world: World, fact: KnownFact) -> Iterator[Mirror]:
    """Give each relation in which a replaced fact is said the other way round and not edited."""
    for mirror in world.mirrors(fact.relation):
        if not world.edits_of(mirror.relation.id, world.object_of(fact)):
            yield mirror


def _tied(world: World, rule: Rule, middle: str, object_: str) -> tuple[KnownFact, ...]:
    """Return the facts that link others to a thing, from which its object follows for them."""
    key = (rule.id, middle, object_)
    found = world.tied.get(key)
    if found is None:
        assert rule.tied is not None
        found = world.tied[key] = tuple(
            tie
            for tie in world.facts_to(rule.tied, middle)
            if not world.edits_of(rule.second, subject := world.subject_of(tie))
            and world.fits(rule, subject, middle)
            and _is_so(world, rule, subject, object_)
        )
    return found


def _is_so(world: World, rule: Rule, subject: str, object_: str) -> bool:
    """Whether the facts agree with what follows; they do where they say nothing."""
    facts = world.facts_of(rule.second, subject)
    return not facts or any(world.object_of(each) == object_ for each in facts)
