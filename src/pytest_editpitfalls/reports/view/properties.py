"""What was found of editors' properties (``--pitfalls-suite=properties``), in words."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.results.records import Outcome, PropertyRecord

from .reruns import quoted

OUTCOMES: dict[Outcome, str] = {
    "passed": "holds",
    "xfailed": "violated, as declared",
    "failed": "FAILED",
    "error": "ERROR",
    "skipped": "not looked at",
}
"""What an outcome says of a property; reports name properties in this order."""

UNSEEN = "declared as violated, and not seen here"
"""Of a property that held, and that the editor says it does not have."""


@dataclass(frozen=True, slots=True)
class PropertyRow:
    """One property of an editor on a model; all text is visible.

    Attributes:
        says: the property as a sentence; "" where an earlier version wrote the results.
        result: the outcome in words.
        declared: why the editor says that it does not have the property; "" where it says nothing.
        example: the edits that show it, one a line, and what is wrong there; or why it was not looked at.
        replay: the command that looks at these edits again; "" where there are none.
        is_ours: whether that runs pytest and nothing else.
    """

    name: str
    says: str
    outcome: Outcome
    result: str
    examples: int
    declared: str
    example: list[str]
    replay: str
    is_ours: bool


@dataclass(frozen=True, slots=True)
class PropertyTable:
    """The properties of one editor on one model."""

    editor: str
    model: str
    rows: list[PropertyRow]

    @property
    def title(self) -> str:
        """Editor and model."""
        return f"{self.editor} on {self.model}"

    @property
    def line(self) -> str:
        """All in one line: which properties the editor has, and which it has not."""
        parts = []
        for outcome, words in OUTCOMES.items():
            if names := [row.name for row in self.rows if row.outcome == outcome]:
                parts.append(f"{words}: {', '.join(names)}")
        if unseen := [row.name for row in self.rows if row.outcome == "passed" and row.declared]:
            parts.append(f"{UNSEEN}: {', '.join(unseen)}")
        return f"properties of {self.title}: {'; '.join(parts)}"


def property_tables(records: Sequence[PropertyRecord]) -> list[PropertyTable]:
    """Return one table for each editor and model, in the order of the records."""
    tables: dict[tuple[str, str], PropertyTable] = {}
    for record in records:
        names = visible(record.editor), visible(record.model)
        tables.setdefault(names, PropertyTable(*names, [])).rows.append(_row(record))
    return list(tables.values())


def _row(record: PropertyRecord) -> PropertyRow:
    failure = (record.failure or "").splitlines()
    edits = [edit for edit in record.edits if edit not in failure]  # most failures begin with the edits
    unseen = record.outcome == "passed" and record.declared is not None
    return PropertyRow(
        name=visible(record.property),
        says=visible(record.says),
        outcome=record.outcome,
        result=f"{OUTCOMES['passed']} ({UNSEEN})" if unseen else OUTCOMES[record.outcome],
        examples=record.examples,
        declared=visible(record.declared or ""),
        example=[visible(line) for line in (*edits, *failure)],
        replay=visible(record.replay or ""),
        is_ours=_is_ours(record.replay or ""),
    )


def _is_ours(line: str) -> bool:
    """Whether a line runs pytest and nothing else: nobody is offered a command that stands in somebody's file."""
    try:
        words = shlex.split(line)
    except ValueError:
        return False
    return words[:1] == ["pytest"] and quoted(words) == line == visible(line)
