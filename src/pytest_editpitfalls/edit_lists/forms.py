"""The forms that an edit is written in: this project's own, and those of CounterFact and EasyEdit.

A form turns one record into `StatedEdit`s. It is told by the fields of the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pytest_editpitfalls.cases.labels import Label, Name, Prompt
from pytest_editpitfalls.errors import RowError, UsageError
from pytest_editpitfalls.validation import usage_error


class StatedEdit(BaseModel):
    """An edit of a list, checked. Exactly this is a line of JSONL or CSV; the other forms are brought into it.

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
    paraphrases: Annotated[tuple[str, ...], Field(strict=False)] = ()
    neighbours: Annotated[tuple[tuple[str, str], ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _says_what_it_edits(self) -> StatedEdit:
        if self.relation is None and self.prompt is None:
            raise RowError(
                "relation",
                "neither a relation nor a prompt says what is edited",
                "add 'relation' (an id or name of relations.toml) or 'prompt' with {} for the subject",
            )
        return self


OWN_FIELDS = ("id", "subject", "relation", "prompt", "target_new", "target_true")


@dataclass(frozen=True, slots=True)
class Form:
    """A form of a record.

    Attributes:
        name: for messages.
        recognises: whether a record is of this form.
        fields: gives for each edit of a record the fields of a `StatedEdit`, and where in the record they stand.
    """

    name: str
    recognises: Callable[[Mapping[str, Any]], bool]
    fields: Callable[[Mapping[str, Any]], Iterator[tuple[str, dict[str, Any]]]]


def edits_of(record: Mapping[str, Any], where: str) -> list[StatedEdit]:
    """Return the edits of one record: one, or several in forms that put several into a record.

    Raises:
        UsageError: a field is missing or wrong; ``where`` and the field are named.
    """
    form = next(form for form in FORMS if form.recognises(record))
    found = []
    for inside, fields in form.fields(record):
        place = f"{where}, {inside}" if inside else where
        try:
            found.append(StatedEdit.model_validate({key: value for key, value in fields.items() if value is not None}))
        except ValidationError as error:
            raise usage_error(error, place, StatedEdit) from None
    if not found:
        raise UsageError("there is no edit in it", where=where, fix=f"look at the form of {form.name}, or leave it out")
    return found


def with_gap(prompt: object, subject: object) -> object:
    """Return a prompt with ``{}`` where its subject stands; a prompt that has one already stays as it is.

    Raises:
        RowError: the subject does not stand in the prompt.
    """
    if not isinstance(prompt, str) or not isinstance(subject, str) or prompt.count("{}") == 1 or not subject:
        return prompt
    before, found, after = prompt.partition(subject)
    if not found:
        raise RowError("prompt", f"the subject '{subject}' does not stand in the prompt", "write {} where it stands")
    return f"{before}{{}}{after}"


def _own(record: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "", {name: record.get(name) for name in OWN_FIELDS}


def _counterfact(record: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    rewrites = record["requested_rewrite"]
    several = isinstance(rewrites, list)
    for number, rewrite in enumerate(rewrites if several else [rewrites]):
        inside = f"requested_rewrite.{number}" if several else "requested_rewrite"
        fields = rewrite if isinstance(rewrite, Mapping) else {}
        yield (
            inside,
            {
                "subject": fields.get("subject"),
                "relation": fields.get("relation_id"),
                "prompt": fields.get("prompt"),
                "target_new": _label(fields.get("target_new")),
                "target_true": _label(fields.get("target_true")),
                "paraphrases": () if several else _gapped(record.get("paraphrase_prompts"), fields.get("subject")),
                "neighbours": () if several else _neighbours(record, _label(fields.get("target_true"))),
            },
        )


def _easyedit(record: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    true = next((record[name] for name in ("target_true", "ground_truth") if record.get(name)), None)
    while isinstance(true, list):
        true = true[0] if true else None
    yield (
        "",
        {
            "subject": record.get("subject"),
            "prompt": with_gap(record.get("prompt"), record.get("subject")),
            "target_new": record.get("target_new"),
            "target_true": true,
            "paraphrases": _gapped(record.get("rephrase_prompt") or record.get("rephrase"), record.get("subject")),
        },
    )


def _label(value: object) -> object:
    return value.get("str") if isinstance(value, Mapping) else value


def _gapped(value: object, subject: object) -> tuple[str, ...]:
    """Return paraphrases with ``{}`` for the subject; one without the subject asks something else."""
    texts = (text for text in _texts(value) if isinstance(subject, str) and subject in text)
    return tuple(str(with_gap(text, subject)) for text in texts)


def _neighbours(record: Mapping[str, Any], true: object) -> tuple[tuple[str, str], ...]:
    """Return CounterFact's neighbours, which have the object that the edit replaces."""
    return tuple((prompt, true) for prompt in _texts(record.get("neighborhood_prompts")) if isinstance(true, str))


def _texts(value: object) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    return tuple(text for text in texts if isinstance(text, str) and text.strip())


def _is_easyedit(record: Mapping[str, Any]) -> bool:
    prompt = record.get("prompt")
    return "relation" not in record and isinstance(prompt, str) and "{}" not in prompt


FORMS = (
    Form("CounterFact", lambda record: "requested_rewrite" in record, _counterfact),
    Form("EasyEdit", _is_easyedit, _easyedit),
    Form("a list of edits", lambda record: True, _own),
)
