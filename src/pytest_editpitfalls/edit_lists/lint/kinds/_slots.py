"""What several checks ask of the edits of one subject and relation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_editpitfalls.edit_lists.planned import PlannedEdit
from pytest_editpitfalls.edit_lists.world import World


def reversals(world: World, edits: Sequence[PlannedEdit]) -> Iterator[tuple[PlannedEdit, PlannedEdit]]:
    """Give each edit that writes what an earlier one replaced, with that one."""
    for place, edit in enumerate(edits):
        target = world.target(edit)
        for earlier in edits[:place]:
            if world.target(earlier) != target and target in replaced(world, earlier):
                yield edit, earlier
                break


def replaced(world: World, edit: PlannedEdit) -> set[str]:
    """Return the keys of what an edit replaces: the stated object, and what is known to be true."""
    found = {world.replaced(edit)} - {""}
    if edit.relation:
        found |= {world.object_of(fact) for fact in world.replaced_facts(edit)}
    return found
