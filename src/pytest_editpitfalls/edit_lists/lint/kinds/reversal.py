"""An edit that takes an earlier one back."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_editpitfalls.edit_lists.lint.finding import Check, Finding, in_order
from pytest_editpitfalls.edit_lists.lint.kinds._slots import reversals
from pytest_editpitfalls.edit_lists.world import World, words


def _find(world: World) -> Iterator[Finding]:
    for edits in world.slots():
        for edit, earlier in reversals(world, edits):
            relation = world.relation(edit)
            grave = relation is not None and relation.functional
            text = f"{words(world, edit)} takes back what {earlier.target_new} had replaced"
            yield Finding("conflict" if grave else "warning", in_order(earlier, edit), text)


CHECK = Check("reversal", "a later edit takes an earlier one back", _find)
