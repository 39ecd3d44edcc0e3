"""Pieces that the rows of several benchmarks share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, FailFast, Field, TypeAdapter
from typing_extensions import NotRequired, TypedDict

from pytest_editpitfalls.files import MAX_CASES, MAX_LABEL, MAX_PROMPT

MAX_RECORDS = 6 * MAX_CASES
Text = Annotated[str, Field(max_length=MAX_PROMPT)]
Label = Annotated[str, Field(max_length=MAX_LABEL)]


class Target(TypedDict):
    """An object of CounterFact's form; the id is not needed."""

    str: Label


class Rewrite(TypedDict):
    """An edit of CounterFact's form. Some exports of it have the targets as plain texts beside one another."""

    prompt: Text
    subject: Label
    relation_id: NotRequired[Label]
    target_new: NotRequired[Target]
    target_true: NotRequired[Target]
    target_new_str: NotRequired[Label]
    target_true_str: NotRequired[Label]
    question: NotRequired[Text]


def rows_of(row: Any) -> TypeAdapter[list[Any]]:
    """Return what validates a file of rows; it stops at the first mistake, and ignores fields that are not needed."""
    return TypeAdapter(Annotated[list[row], Field(max_length=MAX_RECORDS), FailFast()], config=ConfigDict(strict=True))


def target(rewrite: Rewrite, which: str) -> str:
    """Return ``target_new`` or ``target_true`` of an edit, "" where it has none."""
    found: Any = rewrite.get(which)
    return str(found["str"]) if found else str(rewrite.get(f"{which}_str", ""))
