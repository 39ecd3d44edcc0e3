"""An edit that clashes through a rule with facts that stay: no edit of the list changes them."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_editpitfalls.edit_lists.lint.finding import Check, Finding, in_order
from pytest_editpitfalls.edit_lists.lint.kinds._conclusions import clashes, in_words, left_behind
from pytest_editpitfalls.edit_lists.planned import PlannedEdit
from pytest_editpitfalls.edit_lists.world import SEVERITIES, Severity, World, said, words
from pytest_editpitfalls.knowledge import KnownFact, KnownRelation


def _find(world: World) -> Iterator[Finding]:
    for edit, relation, subject, target in world.known:
        if any(world.object_of(fact) == target for fact in world.facts_of(relation.id, subject)):
            continue  # true already: what stays agrees with it
        yield from _other_way_round(world, edit, relation, subject, target)
    for clash in clashes(world):
        if not clash.premises:
            yield Finding(clash.severity, (clash.edit,), in_words(world, clash), clash.facts, clash.rule.id)
    for clash in left_behind(world):
        edits = in_order(clash.edit, *clash.premises)
        second = world.knowledge.relations[clash.rule.second]
        follows = said(clash.edit.subject, second.label, clash.follows)
        text = f"{words(world, clash.edit)} gives {follows}, while {clash.facts[-1]}"
        yield Finding(clash.severity, edits, text, clash.facts, clash.rule.id)


def _other_way_round(
    world: World, edit: PlannedEdit, relation: KnownRelation, subject: str, target: str
) -> Iterator[Finding]:
    """Give the clash of an edit with a fact of its new object: somebody else has it, and keeps it."""
    ways: list[tuple[Severity, str, list[KnownFact]]] = []
    if relation.inverse_functional:
        owners = [fact for fact in world.facts_to(relation.id, target) if world.subject_of(fact) != subject]
        ways.append(("conflict", "", owners))
    for mirror in world.mirrors(relation.id):
        if mirror.relation.functional:
            facts = world.facts_of(mirror.relation.id, target)
            ways.append((mirror.severity, mirror.rule, [fact for fact in facts if world.object_of(fact) != subject]))
    staying = [(severity, rule, [fact for fact in facts if world.stays(fact)]) for severity, rule, facts in ways]
    staying = [way for way in staying if way[2]]
    if staying:
        severity = min((way[0] for way in staying), key=SEVERITIES.index)
        rule = next((way[1] for way in staying if way[1]), "")
        others = tuple(dict.fromkeys(world.fact_words(fact) for way in staying for fact in way[2]))
        stay = "stay" if len(others) > 1 else "stays"
        yield Finding(severity, (edit,), f"{words(world, edit)}, while {' and '.join(others)} {stay}", others, rule)


CHECK = Check("standing-fact", "an edit clashes with facts that stay", _find)
