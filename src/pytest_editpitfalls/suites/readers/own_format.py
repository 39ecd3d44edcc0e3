"""The project's own suite format: a TOML header, a TOML file of relations and one JSON object per case.

The format is described in docs/suite-format.md.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from pytest_editpitfalls.cases.case import Case, Edit, Fact, Kind, Relation
from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.files import (
    MAX_CASES,
    MAX_LABEL,
    MAX_PARAPHRASES,
    MAX_PROMPT,
    MAX_TRUE_OBJECTS,
    SuiteContent,
    inside,
    read_bounded,
    read_toml,
    refuse_repeated_fields,
)
from pytest_editpitfalls.suites.held import BaseFacts
from pytest_editpitfalls.validation import usage_error

MAX_LINE_BYTES = 1024 * 1024
MIN_PARAPHRASES = 10


def _trimmed(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty")
    if text != text.strip():
        raise ValueError(
            "the text starts or ends with a space; prompt and object are joined by one space anyway"
        )
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("the text holds a control character (such as a line break or a tab)")
    return text


def _prompt(text: str) -> str:
    _trimmed(text)
    if text.count("{}") != 1:
        raise ValueError("a prompt needs exactly one {} where the subject stands")
    return text


Label = Annotated[str, Field(max_length=MAX_LABEL), AfterValidator(_trimmed)]
LABEL: TypeAdapter[str] = TypeAdapter(Label)
Prompt = Annotated[str, Field(max_length=MAX_PROMPT), AfterValidator(_prompt)]
Remark = Annotated[str, Field(max_length=MAX_PROMPT)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Header(_Strict):
    """The `.toml` file that names a suite."""

    format: Literal[1]
    name: Name
    kind: Kind
    license: Remark
    provenance: Remark
    relations: str = Field(min_length=1)
    cases: str = Field(min_length=1)
    thresholds: list[Annotated[str, Field(max_length=MAX_LABEL)]] | None = Field(None, max_length=100)


class RelationTable(_Strict):
    """One table of the relations file."""

    label: Remark
    prompt: Prompt
    paraphrases: list[Prompt] = Field(min_length=MIN_PARAPHRASES, max_length=MAX_PARAPHRASES)
    query: Remark = ""


class FactLine(_Strict):
    """A fact of a case line."""

    relation: Label
    subject: Label
    object: Label

    def fact(self) -> Fact:
        """Return it as a `Fact`."""
        return Fact(self.relation, self.subject, self.object)


class EditLine(FactLine):
    """An edit of a case line."""

    new_object: Label

    def edit(self) -> Edit:
        """Return it as an `Edit`."""
        return Edit(self.relation, self.subject, self.object, self.new_object)


class ConflictLine(_Strict):
    """A line of a reverse or coverage suite."""

    id: Name
    rule: Label
    edits: tuple[EditLine, EditLine]


class CompositeLine(ConflictLine):
    """A line of a composite suite."""

    tied: FactLine


class RoundLine(_Strict):
    """A line of a round suite."""

    id: Name
    rule: Label
    edits: tuple[EditLine]
    true_objects: list[Label] = Field(min_length=2, max_length=MAX_TRUE_OBJECTS)


Line = ConflictLine | CompositeLine | RoundLine
LINES: dict[Kind, type[Line]] = {
    "reverse": ConflictLine,
    "composite": CompositeLine,
    "coverage": ConflictLine,
    "round": RoundLine,
}


@dataclass(frozen=True, slots=True)
class _Row:
    """A parsed line with its place in the file."""

    number: int
    line: Line
    where: str

    def edits(self) -> tuple[Edit, ...]:
        return tuple(edit.edit() for edit in self.line.edits)

    def tied(self) -> Fact | None:
        return self.line.tied.fact() if isinstance(self.line, CompositeLine) else None

    def true_objects(self) -> tuple[str, ...]:
        return tuple(self.line.true_objects) if isinstance(self.line, RoundLine) else ()

    def base_facts(self, kind: Kind) -> Iterator[Fact]:
        """The facts that the line takes as true before any edit (in published files: the triples)."""
        edits, tied = self.edits(), self.tied()
        first = edits[0]
        if tied is not None:
            yield tied
        if kind == "round":
            yield from (Fact(first.relation, first.subject, label) for label in self.true_objects())
            return
        yield first.before
        if kind == "reverse":
            yield Fact(edits[1].relation, first.object, first.subject)
        elif kind == "composite":
            yield edits[1].before


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
    relations_path = inside(path, header.relations, "relations")
    cases_path = inside(path, header.cases, "cases")
    relation_tables, relations_data = read_toml(relations_path)
    relations = _relations(relations_path, relation_tables)
    cases_data = read_bounded(cases_path)
    rows = _rows(cases_path, cases_data, header.kind)
    base = BaseFacts(fact for row in rows for fact in row.base_facts(header.kind))
    cases = tuple(
        _case(row, index, header, str(cases_path), relations, relations_path, base)
        for index, row in enumerate(rows)
    )
    return SuiteContent(
        name=header.name,
        kind=header.kind,
        format="own",
        cases=cases,
        thresholds=None if header.thresholds is None else tuple(header.thresholds),
        license=header.license,
        provenance=header.provenance,
        raw=(header_data, relations_data, cases_data),
    )


def _relations(path: Path, tables: dict[str, Any]) -> dict[str, Relation]:
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
        )
    return relations


def _rows(path: Path, data: bytes, kind: Kind) -> list[_Row]:
    model = LINES[kind]
    adapter: TypeAdapter[Line] = TypeAdapter(model)
    rows: list[_Row] = []
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
            line = adapter.validate_json(text)
        except ValidationError as error:
            raise usage_error(error, where, model) from None
        refuse_repeated_fields(text, where)
        if line.id in seen:
            raise UsageError(
                f"the id '{line.id}' is used twice (first in line {seen[line.id]})",
                where=f"{where}, field id",
                fix="give every case its own id",
            )
        if len(rows) == MAX_CASES:
            raise UsageError(f"more than {MAX_CASES} cases", where=where, fix="split the suite")
        seen[line.id] = number
        rows.append(_Row(number, line, f"{where}, case {line.id}"))
    if not rows:
        raise UsageError("the suite has no cases", where=str(path), fix="add one JSON object per line")
    return rows


def _case(
    row: _Row,
    index: int,
    header: Header,
    source: str,
    relations: dict[str, Relation],
    relations_path: Path,
    base: BaseFacts,
) -> Case:
    edits, tied, true_objects = row.edits(), row.tied(), row.true_objects()
    named = {f"edits.{position}.relation": edit.relation for position, edit in enumerate(edits)}
    if tied is not None:
        named["tied.relation"] = tied.relation
    for field, name in named.items():
        if name not in relations:
            raise UsageError(
                f"relation '{name}' has no prompts in {relations_path.name}",
                where=f"{row.where}, field {field}",
                fix=f"add a table [{name}] there, or {did_you_mean(name, relations)}",
            )
    _check_chain(row, header.kind, edits, tied, true_objects)
    _check_new_objects(row, edits, base)
    asked = [edits[0].before] if tied is None else [edits[0].before, tied]
    return Case(
        id=row.line.id,
        suite=header.name,
        kind=header.kind,
        rule=row.line.rule,
        source=source,
        source_index=index,
        edits=edits,
        relations=tuple(relations[name] for name in dict.fromkeys(named.values())),
        tied=tied,
        true_objects=true_objects,
        others=tuple(label for label in true_objects if label != edits[0].object),
        held=base.held(asked),
    )


def _check_chain(
    row: _Row, kind: Kind, edits: tuple[Edit, ...], tied: Fact | None, true_objects: tuple[str, ...]
) -> None:
    """Refuse edits that do not fit the protocol of their kind."""
    first, last = edits[0], edits[-1]
    if kind == "reverse":
        _equal(row, "edits.1.subject", last.subject, "edits.0.new_object", first.new_object)
        _differs(row, "edits.1.new_object", last.new_object, "edits.0.subject", first.subject)
    elif kind == "composite" and tied is not None:
        _equal(row, "tied.object", tied.object, "edits.0.subject", first.subject)
        _equal(row, "edits.1.subject", last.subject, "tied.subject", tied.subject)
        _differs(row, "edits.1.new_object", last.new_object, "edits.0.new_object", first.new_object)
    elif kind == "coverage":
        _equal(row, "edits.1.subject", last.subject, "edits.0.subject", first.subject)
        _equal(row, "edits.1.relation", last.relation, "edits.0.relation", first.relation)
        _differs(row, "edits.1.new_object", last.new_object, "edits.0.new_object", first.new_object)
    elif kind == "round":
        field = f"{row.where}, field true_objects"
        if first.object not in true_objects:
            raise UsageError(
                f"the edit's object '{first.object}' is not among the true objects", where=field, fix="add it"
            )
        if len(set(true_objects)) != len(true_objects):
            raise UsageError("a true object is listed twice", where=field, fix="list each once")


def _equal(row: _Row, field: str, value: str, other_field: str, other: str) -> None:
    """Refuse a line in which two fields of the edit chain should agree and do not."""
    if value != other:
        raise UsageError(
            f"'{value}' does not continue the chain: {other_field} is '{other}'",
            where=f"{row.where}, field {field}",
            fix=f"write '{other}'",
        )


def _differs(row: _Row, field: str, value: str, other_field: str, other: str) -> None:
    """Refuse a line whose two edits do not contradict each other."""
    if value == other:
        raise UsageError(
            f"'{value}' makes no conflict: {other_field} is the same",
            where=f"{row.where}, field {field}",
            fix="choose another object",
        )


def _check_new_objects(row: _Row, edits: tuple[Edit, ...], base: BaseFacts) -> None:
    for position, edit in enumerate(edits):
        true = base.true_objects(edit.relation, edit.subject)
        if edit.new_object == edit.object or edit.new_object in true:
            raise UsageError(
                f"the new object '{edit.new_object}' is a true object of {edit.subject}",
                where=f"{row.where}, field edits.{position}.new_object",
                fix="choose an object that is not true",
            )
