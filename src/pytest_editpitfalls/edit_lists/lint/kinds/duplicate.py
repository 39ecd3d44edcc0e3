"""The same edit twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from pytest_editpitfalls.edit_lists.lint.finding import Check, Finding, in_order
from pytest_editpitfalls.edit_lists.planned import PlannedEdit
from pytest_editpitfalls.edit_lists.world import World, words


def _find(world: World) -> Iterator[Finding]:
    for edits in world.slots():
        by_target: dict[str, list[PlannedEdit]] = defaultdict(list)
        for edit in edits:
            by_target[world.target(edit)].append(edit)
        for same in by_target.values():
            if len(same) > 1:
                yield Finding("note", in_order(*same), f"{words(world, same[-1])} stands there {len(same)} times")


CHECK = Check("duplicate", "the same edit twice", _find)
