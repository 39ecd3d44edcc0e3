"""Two edits that give one subject two objects where there can be only one."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_editpitfalls.edit_lists.lint.finding import Check, Finding, in_order
from pytest_editpitfalls.edit_lists.lint.kinds._slots import reversals
from pytest_editpitfalls.edit_lists.planned import PlannedEdit
from pytest_editpitfalls.edit_lists.world import World, words


def _find(world: World) -> Iterator[Finding]:
    for edits in world.slots():
        if len(edits) < 2:
            continue
        back = {edit.id for edit, _ in reversals(world, edits)}
        by_target: dict[str, PlannedEdit] = {}
        for edit in edits:
            if edit.id not in back:
                by_target.setdefault(world.target(edit), edit)
        relation = world.relation(edits[0])
        if len(by_target) < 2 or (relation is not None and not relation.functional):
            continue
        several = in_order(*by_target.values())
        targets = ", ".join(edit.target_new for edit in several[:-1])
        text = f"{words(world, several[-1])}, but {targets} in another edit"
        if relation is None:
            text += "; nobody knows whether both can be true"
        yield Finding("warning" if relation is None else "conflict", several, text)


CHECK = Check("two-targets", "one subject gets two objects where there is one", _find)
