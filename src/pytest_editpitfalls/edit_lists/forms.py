"""The form of an edit in a list of this project: one line of JSONL or CSV, or one object of a JSON list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from pytest_editpitfalls.cases.labels import Label, Name, Prompt
from pytest_editpitfalls.errors import RowError, UsageError
from pytest_editpitfalls.suites.benchmarks.prompts import template_of
from pytest_editpitfalls.validation import usage_error


class StatedEdit(BaseModel):
    """An edit of a list, checked.

    Attributes:
        id: how reports name it; made of the line where it is not given.
        subject: label of the subject.
        relation: id or name of a relation.
        prompt: the rewrite prompt, with ``{}`` for the subject.
        target_new: what the edit writes.
        target_true: what it replaces.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    id: Name | None = None
    subject: Label
    relation: Label | None = None
    prompt: Prompt | None = None
    target_new: Label
    target_true: Label | None = None

    @model_validator(mode="after")
    def _says_what_it_edits(self) -> StatedEdit:
        if self.relation is None and self.prompt is None:
            raise RowError(
                "relation",
                "neither a relation nor a prompt says what is edited",
                "add 'relation' (an id or name of relations.toml) or 'prompt' with {} for the subject",
            )
        return self


FIELDS = tuple(StatedEdit.model_fields)


def is_own_form(record: Mapping[str, Any]) -> bool:
    """Whether a record of a JSON list is of this form, not of a benchmark's: its texts are plain, its prompt has {}."""
    prompt = record.get("prompt")
    return isinstance(record.get("target_new"), str) and (
        isinstance(record.get("relation"), str) or (isinstance(prompt, str) and "{}" in prompt)
    )


def stated(record: object, where: str) -> StatedEdit:
    """Return an edit; a prompt with its subject in place gets ``{}`` there.

    Raises:
        UsageError: a field is missing or wrong; ``where`` and the field are named.
    """
    if not isinstance(record, Mapping):
        raise UsageError("an edit is an object with named fields", where=where, fix='write {"subject": ..., ...}')
    fields = {name: value for name in FIELDS if (value := record.get(name)) is not None}
    subject, prompt = fields.get("subject"), fields.get("prompt")
    if isinstance(subject, str) and subject.strip() and isinstance(prompt, str) and "{}" not in prompt:
        found = template_of(prompt, subject)
        if found is None:
            raise UsageError(
                f"the subject '{subject}' does not stand in the prompt",
                where=f"{where}, field prompt",
                fix="write {} where it stands",
            )
        fields["prompt"] = found[0]
    try:
        return StatedEdit.model_validate(fields)
    except ValidationError as error:
        raise usage_error(error, where, StatedEdit) from None
