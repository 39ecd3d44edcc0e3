"""An edit that undoes a true fact from which others follow."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_editpitfalls.edit_lists.following import conclusions, undone_inverses
from pytest_editpitfalls.edit_lists.lint.finding import Check, Finding
from pytest_editpitfalls.edit_lists.planned import PlannedEdit
from pytest_editpitfalls.edit_lists.world import World, said
from pytest_editpitfalls.knowledge import KnownFact

_EXAMPLES = 3


def _find(world: World) -> Iterator[Finding]:
    for edit, *_ in world.known:
        for fact in world.replaced_facts(edit):
            found = list(_dependents(world, edit, fact))
            if not found:
                continue
            shown = "; ".join(found[:_EXAMPLES])
            more = f"; and {len(found) - _EXAMPLES} more" if len(found) > _EXAMPLES else ""
            depend = "one fact depends" if len(found) == 1 else f"{len(found):,} facts depend"
            text = f"undoes {world.fact_words(fact)}, on which {depend}: {shown}{more}"
            yield Finding("warning", (edit,), text, tuple(found[:_EXAMPLES]), count=len(found))


def _dependents(world: World, edit: PlannedEdit, fact: KnownFact) -> Iterator[str]:
    for mirror in undone_inverses(world, fact):
        yield said(fact.object, mirror.relation.label, fact.subject)
    for each in conclusions(world, edit, fact):
        yield said(each.subject.label, each.relation.label, each.old.label)


CHECK = Check("dependents", "an edit undoes a fact on which others depend", _find)
