"""What the JSON of a run says of how its cases are run again."""

from __future__ import annotations

from pydantic import Field

from .record import Record

ID = "{id}"
"""Stands in `RerunRecord.selects` for the id of a case."""


class RerunRecord(Record):
    """How a case of one suite, with one editor on one model, is run again: from where pytest was started, alone."""

    suite: str
    editor: str
    model: str
    selects: list[str] = Field(
        description="the arguments of pytest that select a case; the last `{id}` stands for the id of the case"
    )
    options: list[str] = Field(description="the other arguments: suite, editor, model and settings of the run")
    cases: list[str] = Field(
        default_factory=list, description="ids of the cases that it is for; empty: all that no other entry names"
    )
