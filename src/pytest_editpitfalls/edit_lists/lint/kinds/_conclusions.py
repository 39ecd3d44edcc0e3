"""What follows from two facts by a rule, after all edits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_editpitfalls.edit_lists.planned import PlannedEdit
from pytest_editpitfalls.edit_lists.world import Now, Severity, World, said, severity_of, words
from pytest_editpitfalls.knowledge import Rule


@dataclass(frozen=True, slots=True)
class Clash:
    """An edit that writes something else than follows from two premises.

    Attributes:
        edit: the edit of the conclusion.
        premises: the edits among the premises; none where both are facts that stay.
        facts: the premises that are facts, in words.
        follows: the object that follows, by its label.
        severity: how grave it is.
        rule: the rule.
    """

    edit: PlannedEdit
    premises: tuple[PlannedEdit, ...]
    facts: tuple[str, ...]
    follows: str
    severity: Severity
    rule: Rule


def clashes(world: World) -> Iterator[Clash]:
    """Give each edit that writes something else than follows by a composition, once for each rule.

    Where several things follow, the edit has to be none of them. A path with edits wins over one of facts alone: it is
    what the list itself says.
    """
    for edit, relation, subject, target in world.known:
        if not relation.functional:
            continue
        for rule in world.compositions.get(("second", relation.id), ()):
            paths = list(_paths(world, rule, subject))
            if not paths or any(last.key == target for _, last in paths):
                continue
            tied, last = max(paths, key=lambda path: (path[0].edit is not None) + (path[1].edit is not None))
            yield Clash(
                edit,
                tuple(each.edit for each in (tied, last) if each.edit is not None),
                tuple(world.fact_words(each.fact) for each in (tied, last) if each.fact is not None),
                last.thing.label,
                severity_of(rule),
                rule,
            )


def left_behind(world: World) -> Iterator[Clash]:
    """Give each edit that links its subject to another thing, while something else stays than follows from the link.

    What followed from the former link is not given: it depends on what the edit replaces.
    """
    for edit, relation, subject, target in world.known:
        for rule in world.compositions.get(("tied", relation.id), ()):
            second = world.knowledge.relations[rule.second]
            if not second.functional or world.edits_of(second.id, subject) or not world.fits(rule, subject, target):
                continue
            staying = [fact for fact in world.facts_of(second.id, subject) if world.stays(fact)]
            follows = world.now(rule.first, target)
            former = {
                world.object_of(fact)
                for old in world.replaced_facts(edit)
                for fact in world.facts_of(rule.first, world.object_of(old))
            }
            have = {world.object_of(fact) for fact in staying}
            if not staying or not follows or have & (former | {now.key for now in follows}):
                continue
            premises = [now.edit for now in follows if now.edit is not None]
            facts = [world.fact_words(now.fact) for now in follows if now.fact is not None]
            facts.append(f"{world.fact_words(staying[0])} stays")
            yield Clash(edit, tuple(premises), tuple(facts), follows[0].thing.label, severity_of(rule), rule)


def _paths(world: World, rule: Rule, subject: str) -> Iterator[tuple[Now, Now]]:
    assert rule.tied is not None  # a composition has one
    for tied in world.now(rule.tied, subject):
        if tied.key != subject and world.fits(rule, subject, tied.key):
            for last in world.now(rule.first, tied.key):
                yield tied, last


def in_words(world: World, clash: Clash) -> str:
    """Return a clash of a conclusion as one sentence, without its edits' lines."""
    relation = world.knowledge.relations[clash.rule.second]
    premises = [*(words(world, edit) for edit in clash.premises), *clash.facts]
    follows = said(clash.edit.subject, relation.label, clash.follows)
    return f"{words(world, clash.edit)}, but {' and '.join(premises)} give {follows}"
