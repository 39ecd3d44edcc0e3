"""Rules: which facts follow from which. They make two edits clash, and say what an edit ought to change as well."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pytest_editpitfalls.cases.labels import Label, Remark
from pytest_editpitfalls.errors import RowError, UsageError, did_you_mean
from pytest_editpitfalls.files import read_toml
from pytest_editpitfalls.validation import usage_error

from .relations import Relations

Strength = Literal["strict", "default"]
Kinds = Annotated[tuple[Label, ...], Field(strict=False)]


class Rule(BaseModel):
    """A rule of `rules.toml`.

    ``inverse``: (s, first, o) says the same as (o, second, s); a symmetric relation is its own inverse.
    ``composition``: (s, tied, m) and (m, first, o) give (s, second, o).

    Attributes:
        id: how cases name it ("P36>P1376", "P17&P30>P30").
        shape: which of the two it is.
        first: relation of the fact that edit 1 changes.
        second: relation of the fact that follows.
        tied: composition: relation of the fact that links the subjects.
        strength: "strict": both edits cannot be true together. "default": usually so; an expectation.
        subject_kinds: kinds of s; empty: any.
        middle_kinds: kinds of m; empty: any.
        words: the rule in one line.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Label
    shape: Literal["inverse", "composition"]
    first: Label
    second: Label
    tied: Label | None = None
    strength: Strength
    subject_kinds: Kinds = ()
    middle_kinds: Kinds = ()
    words: Remark

    @model_validator(mode="after")
    def _fits_its_shape(self) -> Rule:
        if self.shape == "composition" and self.tied is None:
            raise RowError(
                "tied", "a composition has no tied relation", "name the relation that links the two subjects"
            )
        if self.shape == "inverse" and (self.tied is not None or self.middle_kinds):
            raise RowError("tied", "an inverse rule has no tied relation", "leave out tied and middle_kinds")
        return self

    def relations(self) -> dict[str, str]:
        """Return the relations that it speaks of, by field."""
        named = {"first": self.first, "second": self.second}
        return named if self.tied is None else {**named, "tied": self.tied}


def read_rules(path: Path, relations: Relations) -> tuple[Rule, ...]:
    """Read a `rules.toml`, in its order.

    Raises:
        UsageError: it cannot be read, a rule is wrong, two have one id, or a rule speaks of a relation that
            ``relations`` does not have; file, rule, field and fix are named.
    """
    tables, _ = read_toml(path)
    entries: Any = tables.pop("rule", None)
    if tables:
        raise UsageError(
            f"unknown field '{next(iter(tables))}'", where=str(path), fix="write each rule as a table [[rule]]"
        )
    if not isinstance(entries, list):
        raise UsageError("there are no rules", where=str(path), fix="write each rule as a table [[rule]]")
    rules: dict[str, Rule] = {}
    for number, entry in enumerate(entries, 1):
        named = f" ({entry['id']})" if isinstance(entry, dict) and isinstance(entry.get("id"), str) else ""
        where = f"{path}, rule {number}{named}"
        try:
            rule = Rule.model_validate(entry)
        except ValidationError as error:
            raise usage_error(error, where, Rule) from None
        if rule.id in rules:
            raise UsageError(f"two rules have the id '{rule.id}'", where=where, fix="give every rule its own id")
        for name, relation in rule.relations().items():
            if relation not in relations:
                raise UsageError(
                    f"unknown relation '{relation}'",
                    where=f"{where}, field {name}",
                    fix=f"add a table [{relation}] to {relations.source.name}, or {did_you_mean(relation, relations)}",
                )
        rules[rule.id] = rule
    return tuple(rules.values())
