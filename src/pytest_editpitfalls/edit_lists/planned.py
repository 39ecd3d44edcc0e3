"""One edit that somebody plans or has made, and the list that it stands in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PlannedEdit:
    """An edit as its list gives it.

    Attributes:
        number: its line, or its record in a JSON file, counted from 1.
        place: the same in words, with the file ("edits.jsonl:3"), for messages.
        id: how reports name it; given in the list, or made of the number.
        subject: label of the subject.
        relation: id of a known relation; "" where the edit has only a prompt that no relation is asked by.
        prompt: the rewrite prompt, with ``{}`` for the subject; "" where the relation's own is meant.
        target_new: what the edit writes.
        target_true: what it replaces, or "" where nobody said.
        paraphrases: further prompts with ``{}`` for the subject, where the list has some.
        neighbours: prompts about other subjects and their true objects, which should stay, where the list has some.
        stated_relation: the relation as the list names it, or "".
    """

    number: int
    place: str
    id: str
    subject: str
    relation: str
    prompt: str
    target_new: str
    target_true: str = ""
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[tuple[str, str], ...] = ()
    stated_relation: str = ""


@dataclass(frozen=True, slots=True)
class EditList:
    """A list of edits.

    Attributes:
        path: the file.
        counted: what `PlannedEdit.number` counts: "line" or "record".
        edits: all edits, in file order.
        notes: what a user should know of the reading ("fields that are not read: ...").
    """

    path: Path
    counted: str
    edits: tuple[PlannedEdit, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def by_prompt(self) -> int:
        """How many edits name no relation, but have a prompt that a known relation is asked by."""
        return sum(bool(edit.relation) and not edit.stated_relation for edit in self.edits)

    @property
    def unknown(self) -> tuple[PlannedEdit, ...]:
        """The edits whose relation is not known: they have only a prompt."""
        return tuple(edit for edit in self.edits if not edit.relation)
