"""What kinds with one edit have in common: they ask for what it writes and what it replaces, before and after it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pytest_editpitfalls.cases.case import Case, Edit, Row
from pytest_editpitfalls.metrics.shared import edit_success
from pytest_editpitfalls.program import Probe

from ._pitfall import FactWords, ask

WRITTEN, REPLACED = "new", "true"

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


def edit_probes(case: Case) -> tuple[Probe, ...]:
    """Return what asks for both objects of the edit, before and after it."""
    (edit,) = case.edits
    return ask(case, WRITTEN, edit.after, "0", "1") + ask(case, REPLACED, edit.before, "0", "1")
