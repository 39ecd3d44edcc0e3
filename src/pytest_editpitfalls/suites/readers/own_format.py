"""The project's own suite format: a TOML header, a TOML file of relations and one JSON object per case.

The format is described in docs/suite-format.md.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pytest_editpitfalls.cases.case import Case, Relation, Row
from pytest_editpitfalls.cases.labels import Label, Name, Prompt, Remark
from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.files import (
    MAX_CASES,
    MAX_LABEL,
    MAX_PARAPHRASES,
    MAX_TRUE_OBJECTS,
    inside,
    read_bounded,
    read_toml,
    refuse_repeated_fields,
)
from pytest_editpitfalls.pitfalls import PITFALLS
from pytest_editpitfalls.program import Score
from pytest_editpitfalls.suites.content import LANGUAGE, Reader, SuiteContent
from pytest_editpitfalls.suites.held import BaseFacts, HeldTerms, RelationObjects
from pytest_editpitfalls.validation import usage_error

MAX_LINE_BYTES = 1024 * 1024
MIN_PARAPHRASES = 10
MAX_OBJECTS = 50_000
"""Objects of one relation that compete, and subjects that a file of objects names for it."""

LABEL: TypeAdapter[str] = TypeAdapter(Label)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Joiner = Literal[" ", ""]
"""What stands between a prompt and an object. Any other text belongs to the prompt's end."""


class HeldTable(_Strict):
    """The header's table of when the base model holds a fact."""

    scores: list[Score] = Field(["mean"], min_length=1, max_length=2)
    paraphrases: float = Field(0.0, ge=0.0, le=1.0)
    objects: str | None = Field(None, min_length=1)


class ObjectsTable(_Strict):
    """One relation of the file of objects."""

    objects: list[Label] = Field(min_length=1, max_length=MAX_OBJECTS)
    true: dict[Label, Annotated[list[Label], Field(max_length=MAX_TRUE_OBJECTS)]] = Field({}, max_length=MAX_OBJECTS)


OBJECTS: TypeAdapter[dict[str, ObjectsTable]] = TypeAdapter(dict[Label, ObjectsTable])


class Header(_Strict):
    """The `.toml` file that names a suite."""

    format: Literal[1]
    name: Name
    kind: Annotated[str, Field(min_length=1, max_length=MAX_LABEL)]
    license: Remark
    provenance: Remark
    relations: str = Field(min_length=1)
    cases: str = Field(min_length=1)
    thresholds: list[Annotated[str, Field(max_length=MAX_LABEL)]] | None = Field(None, max_length=100)
    joiner: Joiner = " "
    # both are asked only of suites that ship: discovery reads them
    language: Annotated[str, Field(pattern="^[a-z]{2,3}(-[A-Za-z0-9]+)*$", max_length=MAX_LABEL)] = LANGUAGE
    default: bool = True
    held: HeldTable = HeldTable()


class RelationTable(_Strict):
    """One table of the relations file."""

    label: Remark
    prompt: Prompt
    paraphrases: list[Prompt] = Field(min_length=MIN_PARAPHRASES, max_length=MAX_PARAPHRASES)
    query: Remark = ""
    joiner: Joiner | None = None
    sentence_case: bool = False
    variant_of: Label | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    """A parsed line with its place in the file."""

    row: Row
    where: str
    index: int


def read_own_suite(path: Path) -> SuiteContent:
    """Read a suite in the project's own format from its header.

    Raises:
        UsageError: anything in its three files is wrong; file, line, field and fix are named.
    """
    header_table, header_data = read_toml(path)
    try:
        header = Header.model_validate(header_table)
    except ValidationError as error:
        raise usage_error(error, str(path), Header) from None
    pitfall = PITFALLS.get(header.kind, where=f"{path}, field kind")
    relations_path = inside(path, header.relations, "relations")
    cases_path = inside(path, header.cases, "cases")
    relation_tables, relations_data = read_toml(relations_path)
    relations = _relations(relations_path, relation_tables, header.joiner)
    cases_data = read_bounded(cases_path)
    lines = _lines(cases_path, cases_data, pitfall.row)
    terms, objects_data = _held_terms(path, header.held)
    base = BaseFacts(
        (fact for line in lines for fact in line.row.base_facts()),
        {relation.id: relation.base for relation in relations.values()},
        terms,
    )
    cases = tuple(
        _case(line, header.name, pitfall.name, str(cases_path), relations, relations_path, base) for line in lines
    )
    return SuiteContent(
        name=header.name,
        kind=pitfall.name,
        format="own",
        cases=cases,
        thresholds=None if header.thresholds is None else tuple(header.thresholds),
        license=header.license,
        provenance=header.provenance,
        raw=(header_data, relations_data, cases_data, *objects_data),
    )


READER = Reader(
    suffix=".toml",
    what="a .toml header (own format)",
    read=read_own_suite,
    companions=frozenset({"relations.toml", "rules.toml"}),
)


def _held_terms(path: Path, table: HeldTable) -> tuple[HeldTerms, tuple[bytes, ...]]:
    """When a fact is held, and the bytes of the file of objects where there is one."""
    scores = tuple(dict.fromkeys(table.scores))
    if table.objects is None:
        return HeldTerms(scores, table.paraphrases), ()
    objects_path = inside(path, table.objects, "held.objects")
    data = read_bounded(objects_path)
    return HeldTerms(scores, table.paraphrases, _objects(str(objects_path), data)), (data,)


@lru_cache(maxsize=4)
def _objects(where: str, data: bytes) -> Mapping[str, RelationObjects]:
    """All objects of each relation. Suites that are built together share one large file: it is read once."""
    try:
        found = OBJECTS.validate_json(data)
    except ValidationError as error:
        raise usage_error(error, where, None) from None
    refuse_repeated_fields(data, where)
    for name, each in found.items():
        if len(set(each.objects)) < len(each.objects):
            twice = Counter(each.objects).most_common(1)[0][0]
            raise UsageError(
                f"the object '{twice}' stands twice",
                where=f"{where}, field {name}.objects",
                fix="keep one",
            )
    return {
        name: RelationObjects(
            tuple(each.objects), {subject: frozenset(labels) for subject, labels in each.true.items()}
        )
        for name, each in found.items()
    }


def _relations(path: Path, tables: dict[str, Any], joiner: Joiner) -> dict[str, Relation]:
    relations: dict[str, Relation] = {}
    for name, table in tables.items():
        where = f"{path}, relation {name}"
        try:
            LABEL.validate_python(name)
        except ValidationError as error:
            raise usage_error(error, f"{path}, name of a relation", None) from None
        try:
            checked = RelationTable.model_validate(table)
        except ValidationError as error:
            raise usage_error(error, where, RelationTable) from None
        relations[name] = Relation(
            id=name,
            prompt=checked.prompt,
            paraphrases=tuple(checked.paraphrases),
            label=checked.label,
            query=checked.query,
            joiner=joiner if checked.joiner is None else checked.joiner,
            sentence_case=checked.sentence_case,
            variant_of=checked.variant_of or "",
        )
    for relation in relations.values():
        if relation.variant_of and getattr(relations.get(relation.variant_of), "variant_of", None) != "":
            known = [each.id for each in relations.values() if not each.variant_of]
            raise UsageError(
                f"'{relation.variant_of}' is no relation of this file that is not a variant itself",
                where=f"{path}, relation {relation.id}, field variant_of",
                fix=did_you_mean(relation.variant_of, known),
            )
    return relations


def _lines(path: Path, data: bytes, model: type[Row]) -> list[_Line]:
    lines: list[_Line] = []
    seen: dict[str, int] = {}
    for number, text in enumerate(io.BytesIO(data), start=1):
        if not text.strip():
            continue
        where = f"{path}:{number}"
        if len(text) > MAX_LINE_BYTES:
            raise UsageError(
                f"the line is too long (more than {MAX_LINE_BYTES // 2**20} MiB)",
                where=where,
                fix="shorten it",
            )
        try:
            row = model.model_validate_json(text)
        except ValidationError as error:
            raise usage_error(error, where, model) from None
        refuse_repeated_fields(text, where)
        if row.id in seen:
            raise UsageError(
                f"the id '{row.id}' is used twice (first in line {seen[row.id]})",
                where=f"{where}, field id",
                fix="give every case its own id",
            )
        if len(lines) == MAX_CASES:
            raise UsageError(f"more than {MAX_CASES} cases", where=where, fix="split the suite")
        seen[row.id] = number
        lines.append(_Line(row, f"{where}, case {row.id}", number - 1))
    if not lines:
        raise UsageError("the suite has no cases", where=str(path), fix="add one JSON object per line")
    return lines


def _case(
    line: _Line,
    suite: str,
    kind: str,
    source: str,
    relations: dict[str, Relation],
    relations_path: Path,
    base: BaseFacts,
) -> Case:
    row = line.row
    named = {field: fact.relation for field, fact in row.named_facts().items()}
    for field, name in named.items():
        if name not in relations:
            raise UsageError(
                f"relation '{name}' has no prompts in {relations_path.name}",
                where=f"{line.where}, field {field}.relation",
                fix=f"add a table [{name}] there, or {did_you_mean(name, relations)}",
            )
    _check_new_objects(line, base)
    _check_listed(line, base)
    return Case(
        suite=suite,
        kind=kind,
        source=source,
        source_index=line.index,
        row=row,
        relations=tuple(relations[name] for name in dict.fromkeys(named.values())),
        held=base.held(row.held_facts()),
    )


def _check_listed(line: _Line, base: BaseFacts) -> None:
    for name, fact in line.row.held_facts().items():
        if not base.is_listed(fact.relation):
            raise UsageError(
                f"relation '{fact.relation}' has no list of objects, but the model is asked whether it holds {name}",
                where=f"{line.where}, header field held.objects",
                fix="add the relation to the file of objects",
            )


def _check_new_objects(line: _Line, base: BaseFacts) -> None:
    for position, edit in enumerate(line.row.edits):
        true = base.true_objects(edit.relation, edit.subject)
        if edit.new_object == edit.object or edit.new_object in true:
            raise UsageError(
                f"the new object '{edit.new_object}' is a true object of {edit.subject}",
                where=f"{line.where}, field edits.{position}.new_object",
                fix="choose an object that is not true",
            )
