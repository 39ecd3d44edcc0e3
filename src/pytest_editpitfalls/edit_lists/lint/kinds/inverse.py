"""Two edits that do not agree on a fact and its inverse."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_editpitfalls.edit_lists.lint.finding import Check, Finding, in_order
from pytest_editpitfalls.edit_lists.world import World, said, words


def _find(world: World) -> Iterator[Finding]:
    seen: set[frozenset[str]] = set()
    for edit, relation, subject, target in world.known:
        for mirror in world.mirrors(relation.id):
            if not (mirror.relation.functional or relation.inverse_functional):
                continue
            for other in world.edits_of(mirror.relation.id, target):
                pair = frozenset((edit.id, other.id))
                if world.target(other) == subject or pair in seen:
                    continue
                seen.add(pair)
                follows = said(edit.target_new, mirror.relation.label, edit.subject)
                text = f"{words(world, edit)}, so {follows}; but another edit writes {words(world, other)}"
                yield Finding(mirror.severity, in_order(edit, other), text, rule=mirror.rule)


CHECK = Check("inverse", "two edits disagree on a fact and its inverse", _find)
