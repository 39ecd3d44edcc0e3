"""An edit that writes what is true already."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_editpitfalls.edit_lists.lint.finding import Check, Finding
from pytest_editpitfalls.edit_lists.world import World, words


def _find(world: World) -> Iterator[Finding]:
    for edits in world.slots():
        for edit in edits[:1]:  # a later one may bring back what an earlier one replaced
            target = world.target(edit)
            if world.replaced(edit) == target:
                yield Finding("note", (edit,), f"{words(world, edit)} replaces an object by itself")
            elif any(world.object_of(fact) == target for fact in world.facts_at(edit)):
                yield Finding("note", (edit,), f"{words(world, edit)} is true already")


CHECK = Check("no-op", "an edit writes what is true already", _find)
