"""What kinds with one edit have in common: they ask for what it writes and what it replaces, before and after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from pytest_editpitfalls.cases.case import Case, Edit, Fact, Row
from pytest_editpitfalls.metrics.shared import edit_success
from pytest_editpitfalls.program import Probe

from ._pitfall import FactWords, ask

WRITTEN, REPLACED = "new", "true"
BEFORE_AND_AFTER = "0", "1"

FACTS: Mapping[str, FactWords] = MappingProxyType(
    {
        WRITTEN: FactWords("what the edit writes", "the edit's fact"),
        REPLACED: FactWords("what the edit replaces", "the former fact"),
    }
)

EDIT_SUCCESS = edit_success(WRITTEN, REPLACED)


class OneEditRow(Row):
    """A row with one edit."""

    edits: tuple[Edit]


def edit_probes(case: Case, *states: str) -> tuple[Probe, ...]:
    """Return what asks for both objects of the edit, in these states: by default before and after it."""
    (edit,) = case.edits
    asked = states or BEFORE_AND_AFTER
    return ask(case, WRITTEN, edit.after, *asked) + ask(case, REPLACED, edit.before, *asked)


def probes_of_changes(case: Case, name: str, changes: Sequence[Edit]) -> Iterator[Probe]:
    """Give what asks for facts that follow from an edit, before and after it: "NAME:0" and, replaced, "NAME_old:0"."""
    for place, each in enumerate(changes):
        yield from ask(case, f"{name}:{place}", each.after, *BEFORE_AND_AFTER)
        yield from ask(case, f"{name}_old:{place}", each.before, *BEFORE_AND_AFTER)


def probes_of_staying(case: Case, name: str, facts: Sequence[Fact], instead: str | None = None) -> Iterator[Probe]:
    """Give what asks for facts that ought to stay ("NAME:0", ...), before and after the edit.

    Args:
        instead: an object that must not come in place of theirs; it is asked as "NAME_new:0", ...
    """
    for place, fact in enumerate(facts):
        yield from ask(case, f"{name}:{place}", fact, *BEFORE_AND_AFTER)
        if instead is not None:
            other = Fact(fact.relation, fact.subject, instead)
            yield from ask(case, f"{name}_new:{place}", other, *BEFORE_AND_AFTER)
