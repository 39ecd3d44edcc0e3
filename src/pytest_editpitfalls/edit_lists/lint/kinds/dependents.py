"""An edit that undoes a true fact from which others follow."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_editpitfalls.edit_lists.lint.finding import Check, Finding
from pytest_editpitfalls.edit_lists.lint.world import World, said
from pytest_editpitfalls.knowledge import KnownFact, Rule

_EXAMPLES = 3


def _find(world: World) -> Iterator[Finding]:
    remembered: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for edit, _, _, target in world.known():
        for fact in world.replaced_facts(edit):
            found = list(_conclusions(world, fact, target, remembered))
            if not found:
                continue
            shown = "; ".join(found[:_EXAMPLES])
            more = f"; and {len(found) - _EXAMPLES} more" if len(found) > _EXAMPLES else ""
            depend = "one fact depends" if len(found) == 1 else f"{len(found)} facts depend"
            text = f"undoes {world.fact_words(fact)}, on which {depend}: {shown}{more}"
            yield Finding("warning", (edit,), text, tuple(found[:_EXAMPLES]), count=len(found))


def _conclusions(
    world: World, fact: KnownFact, target: str, remembered: dict[tuple[str, str, str], tuple[str, ...]]
) -> Iterator[str]:
    """Give what follows from a fact and is edited nowhere in the list, in words."""
    subject, object_ = world.subject_of(fact), world.object_of(fact)
    for mirror in world.mirrors(fact.relation):
        if not world.edits_of(mirror.relation.id, object_):
            yield said(fact.object, mirror.relation.label, fact.subject)
    for rule in world.knowledge.compositions(first=fact.relation):
        key = (rule.id, subject, object_)
        if key not in remembered:
            remembered[key] = tuple(_of_the_tied(world, rule, fact))
        yield from remembered[key]
    for rule in world.knowledge.compositions(tied=fact.relation):
        if world.edits_of(rule.second, subject) or not world.fits(rule, subject, object_):
            continue
        label = world.knowledge.relations[rule.second].label
        stays = {now.key for now in world.now(rule.first, target)}
        for last in world.facts_of(rule.first, object_):
            if world.object_of(last) not in stays and _is_so(world, rule, subject, world.object_of(last)):
                yield said(fact.subject, label, last.object)


def _of_the_tied(world: World, rule: Rule, fact: KnownFact) -> Iterator[str]:
    assert rule.tied is not None
    middle, object_ = world.subject_of(fact), world.object_of(fact)
    label = world.knowledge.relations[rule.second].label
    for tied in world.facts_to(rule.tied, middle):
        subject = world.subject_of(tied)
        if (
            not world.edits_of(rule.second, subject)
            and world.fits(rule, subject, middle)
            and _is_so(world, rule, subject, object_)
        ):
            yield said(tied.subject, label, fact.object)


def _is_so(world: World, rule: Rule, subject: str, object_: str) -> bool:
    """Whether the facts agree with what follows; they do where they say nothing."""
    facts = world.facts_of(rule.second, subject)
    return not facts or any(world.object_of(each) == object_ for each in facts)


CHECK = Check("dependents", "an edit undoes a fact on which others depend", _find)
