"""An edit that writes something else than follows from other edits by a rule."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_editpitfalls.edit_lists.lint.finding import Check, Finding, in_order
from pytest_editpitfalls.edit_lists.lint.kinds._conclusions import clashes, in_words
from pytest_editpitfalls.edit_lists.world import World


def _find(world: World) -> Iterator[Finding]:
    for clash in clashes(world):
        if clash.premises:
            edits = in_order(clash.edit, *clash.premises)
            yield Finding(clash.severity, edits, in_words(world, clash), clash.facts, clash.rule.id)


CHECK = Check("composition", "an edit disagrees with what follows from others", _find)
