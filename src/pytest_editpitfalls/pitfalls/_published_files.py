"""The rows of the files that the pitfalls benchmark published (Li et al., ICLR 2024), as far as kinds share them.

Labels and prompts are kept byte for byte. Fields that are not used are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, FailFast, Field, TypeAdapter
from typing_extensions import NotRequired, TypedDict

from pytest_editpitfalls.cases.case import Edit, Fact, Row
from pytest_editpitfalls.files import MAX_CASES, MAX_LABEL, MAX_PROMPT

CITATION = (
    "Li et al., Unveiling the Pitfalls of Knowledge Editing for Large Language Models, ICLR 2024 (arXiv:2310.02129)"
)

CITED_AS = "Li et al., ICLR 2024"


def _prompt(text: str) -> str:
    if "{}" not in text:
        raise ValueError("a prompt needs a {} where the subject stands")
    return text


Text = Annotated[str, Field(max_length=MAX_LABEL)]
PublishedPrompt = Annotated[str, Field(max_length=MAX_PROMPT), AfterValidator(_prompt)]


class Entity(TypedDict):
    """A Wikidata item; two items may share a label."""

    id: Text
    label: Text


class PublishedRelation(TypedDict):
    """A relation with its rewrite prompt."""

    id: Text
    prompt: PublishedPrompt
    query: NotRequired[Text]
    label: NotRequired[Text]


class Triple(TypedDict):
    """A fact."""

    relation: PublishedRelation
    subject: Entity
    object: Entity


class PublishedEdit(Triple):
    """An edit; a composite file's `true_object` is not needed."""

    new_object: Entity


def rows_of(row: Any) -> TypeAdapter[list[Any]]:
    """Return what validates a whole file of rows.

    Typed dicts, not models: a file holds some 40,000 entities, and a model for each takes three times as long. It fails
    fast: a file of another kind would otherwise have a finding, with a copy of its value, for each of its items.
    """
    return TypeAdapter(Annotated[list[row], Field(max_length=MAX_CASES), FailFast()], config=ConfigDict(strict=True))


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """How one kind of pitfall is read from the published files. A row there is a typed dict.

    Attributes:
        prompts: name of the file of paraphrases that lies beside it.
        rows: validates a whole file.
        recognises: whether a file whose first row is this one is of this kind.
        group: the group that a row's case belongs to.
        facts: the facts and edits of a row, whose relations need prompts.
        base_facts: the facts of a row that are true before any edit.
        row: makes a case's row of its id, its group and a published row; raises `RowError`.
    """

    prompts: str
    rows: TypeAdapter[list[Any]]
    recognises: Callable[[dict[str, Any]], bool]
    group: Callable[[Any], str]
    facts: Callable[[Any], Sequence[Triple]]
    base_facts: Callable[[Any], Iterable[Fact]]
    row: Callable[[str, str, Any], Row]


def fact_of(triple: Triple) -> Fact:
    """Return a published triple as a fact."""
    return Fact(triple["relation"]["id"], triple["subject"]["label"], triple["object"]["label"])


def edit_of(edit: PublishedEdit) -> Edit:
    """Return a published edit as an edit."""
    return Edit(edit["relation"]["id"], edit["subject"]["label"], edit["object"]["label"], edit["new_object"]["label"])
