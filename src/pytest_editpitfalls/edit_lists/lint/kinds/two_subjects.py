"""Two edits that give one object to two subjects where only one can have it."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_editpitfalls.edit_lists.lint.finding import Check, Finding, in_order
from pytest_editpitfalls.edit_lists.planned import PlannedEdit
from pytest_editpitfalls.edit_lists.world import World, words


def _find(world: World) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    for _, relation, _, target in world.known:
        if not relation.inverse_functional or (relation.id, target) in seen:
            continue
        seen.add((relation.id, target))
        by_subject: dict[str, PlannedEdit] = {}
        for edit in world.edits_to(relation.id, target):
            by_subject.setdefault(world.subject(edit), edit)
        if len(by_subject) > 1:
            edits = in_order(*by_subject.values())
            others = ", ".join(edit.subject for edit in edits[:-1])
            yield Finding("conflict", edits, f"{words(world, edits[-1])}, which another edit gives to {others}")


CHECK = Check("two-subjects", "one object goes to two subjects where only one can have it", _find)
