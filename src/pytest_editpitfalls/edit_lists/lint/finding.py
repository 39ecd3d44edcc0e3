"""What lint finds, and what a check is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pytest_editpitfalls.edit_lists.planned import PlannedEdit
from pytest_editpitfalls.edit_lists.world import Severity, World


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about one edit or several.

    Attributes:
        severity: how grave it is.
        edits: the edits that it is about, in file order.
        text: what was found, in one sentence.
        facts: what is true and has to do with it, in words.
        rule: id of the rule that it follows by, or "".
        count: how many facts it is about, where these are more than `facts` shows.
    """

    severity: Severity
    edits: tuple[PlannedEdit, ...]
    text: str
    facts: tuple[str, ...] = ()
    rule: str = ""
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A kind of finding. Each module of `lint.kinds` has one, under the name ``CHECK``.

    Attributes:
        name: of the kind, for reports and ``--ignore``.
        title: what is found, in a few words.
        find: gives the findings of a list.
    """

    name: str
    title: str
    find: Callable[[World], Iterator[Finding]]


def in_order(*edits: PlannedEdit) -> tuple[PlannedEdit, ...]:
    """Return edits in file order, each once."""
    return tuple(sorted({edit.id: edit for edit in edits}.values(), key=lambda edit: (edit.number, edit.id)))
