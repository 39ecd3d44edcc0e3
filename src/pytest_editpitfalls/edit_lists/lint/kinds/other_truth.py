"""An edit whose target_true is not what is known to be true."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_editpitfalls.edit_lists.lint.finding import Check, Finding
from pytest_editpitfalls.edit_lists.world import World, words

_SHOWN = 3


def _find(world: World) -> Iterator[Finding]:
    for edits in world.slots():
        written: set[str] = set()
        for edit in edits:
            stated, facts = world.replaced(edit), world.facts_at(edit)
            known = {world.object_of(fact): fact.object for fact in facts}
            if stated and known and stated not in known and stated not in written:
                true = ", ".join(list(known.values())[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
                text = f"{words(world, edit)} replaces {edit.target_true}, but true is {true}"
                yield Finding("note", (edit,), text, tuple(map(world.fact_words, facts[:_SHOWN])))
            written.add(world.target(edit))


CHECK = Check("other-truth", "target_true is not what is known to be true", _find)
