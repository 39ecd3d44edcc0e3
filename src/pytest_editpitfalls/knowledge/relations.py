"""Relations: what kind of thing they link, what follows from their kind, and how they are asked. One table each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from pytest_editpitfalls.cases.labels import Label, Prompt, Remark
from pytest_editpitfalls.errors import RowError, UsageError, did_you_mean
from pytest_editpitfalls.files import MAX_PARAPHRASES, read_toml
from pytest_editpitfalls.validation import usage_error

MIN_PARAPHRASES = 10
MAX_JOINER = 10

Kinds = Annotated[tuple[Label, ...], Field(strict=False)]
Paraphrases = Annotated[tuple[Prompt, ...], Field(strict=False, min_length=MIN_PARAPHRASES, max_length=MAX_PARAPHRASES)]


class Wording(BaseModel):
    """How a relation is asked.

    Attributes:
        prompt: the rewrite prompt.
        paraphrases: ten or more further prompts that ask the same.
        query: the same as a question, for people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    prompt: Prompt
    paraphrases: Paraphrases
    query: Remark = ""


class KnownRelation(Wording):
    """A relation of `relations.toml`.

    Attributes:
        id: name of its table ("P36").
        label: the relation in words ("capital"); edit lists may name it by this.
        names: further names that edit lists may use.
        subject_kinds, object_kinds: kinds of what it links; empty: any.
        functional: a subject has one object.
        inverse_functional: an object has one subject.
        symmetric: (s, r, o) says the same as (o, r, s).
        transitive: (a, r, b) and (b, r, c) give (a, r, c).
        bears_on: ids of relations of the same subject whose object another object here makes doubtful, by no rule.
        joiner: the text between prompt and object: a space, or nothing in languages that are written without.
        plural: the wording for subjects in the plural, where it differs.
    """

    id: Label = ""
    label: Label
    names: Kinds = ()
    subject_kinds: Kinds = ()
    object_kinds: Kinds = ()
    functional: bool = False
    inverse_functional: bool = False
    symmetric: bool = False
    transitive: bool = False
    bears_on: Kinds = ()
    joiner: Annotated[str, Field(max_length=MAX_JOINER)] = " "
    plural: Wording | None = None

    @model_validator(mode="after")
    def _names_itself_once(self) -> KnownRelation:
        if self.symmetric and self.functional != self.inverse_functional:
            raise RowError(
                "inverse_functional",
                "a symmetric relation is functional both ways or neither",
                "give functional and inverse_functional the same value",
            )
        return self

    def wording(self, number: str = "") -> Wording:
        """Return how it is asked of a subject in this number ("singular", "plural" or "" where nobody said)."""
        return self.plural if number == "plural" and self.plural is not None else self

    def allows(self, subject_kind: str) -> bool:
        """Whether subjects of this kind are asked for it; a kind that nobody said is allowed."""
        return not subject_kind or not self.subject_kinds or subject_kind in self.subject_kinds


@dataclass(frozen=True)
class Relations(Mapping[str, KnownRelation]):
    """The relations of a file by their ids; `named` also finds them by label and further names.

    Attributes:
        source: the file.
    """

    source: Path
    tables: Mapping[str, KnownRelation]
    _by_name: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names: dict[str, str] = {}
        for relation in self.tables.values():
            for name in (relation.label, *relation.names):
                other = names.setdefault(_plain(name), relation.id)
                if other != relation.id:
                    raise UsageError(
                        f"relations {other} and {relation.id} are both called '{name}'",
                        where=f"{self.source}, relation {relation.id}",
                        fix="give one of them another label",
                    )
        object.__setattr__(self, "_by_name", names | {_plain(name): name for name in self.tables})

    def __getitem__(self, name: str) -> KnownRelation:
        return self.tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __len__(self) -> int:
        return len(self.tables)

    def named(self, name: str) -> KnownRelation | None:
        """Return the relation with this id, label or name, in any case, "_" like a space; None: there is none."""
        found = self._by_name.get(_plain(name))
        return None if found is None else self.tables[found]

    def get_named(self, name: str, *, where: str) -> KnownRelation:
        """As `named`; raises `UsageError` with "did you mean" where there is none."""
        found = self.named(name)
        if found is None:
            known = [*self.tables, *(relation.label for relation in self.tables.values())]
            raise UsageError(f"unknown relation '{name}'", where=where, fix=did_you_mean(name, known))
        return found


LABEL: TypeAdapter[str] = TypeAdapter(Label)


def read_relations(path: Path) -> Relations:
    """Read a `relations.toml`.

    Raises:
        UsageError: it cannot be read, or a table is wrong; file, relation, field and fix are named.
    """
    tables, _ = read_toml(path)
    relations = {}
    for name, table in tables.items():
        try:
            LABEL.validate_python(name)
        except ValidationError as error:
            raise usage_error(error, f"{path}, name of a relation", None) from None
        try:
            if not isinstance(table, dict):
                raise UsageError(
                    "not a table",
                    where=f"{path}, {name}",
                    fix=f"write a table [{name}] with label, prompt, paraphrases",
                )
            relations[name] = KnownRelation.model_validate({**table, "id": name})
        except ValidationError as error:
            raise usage_error(error, f"{path}, relation {name}", KnownRelation) from None
    if not relations:
        raise UsageError("there are no relations", where=str(path), fix="add a table for each relation")
    return Relations(path, relations)


def _plain(name: str) -> str:
    return name.replace("_", " ").replace("-", " ").casefold()
