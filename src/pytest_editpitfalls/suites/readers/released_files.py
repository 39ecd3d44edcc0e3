"""The benchmark's published files: `reverse_edit.json`, ..., `easy.json`, with the prompts file beside them.

A file is recognised by its content, not by its name;
labels and prompts are kept byte for byte. Fields that are not used are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, FailFast, Field, TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import NotRequired, TypedDict

from pytest_editpitfalls.cases.case import Case, Edit, Fact, Kind, Relation
from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.files import (
    MAX_CASES,
    MAX_LABEL,
    MAX_PARAPHRASES,
    MAX_PROMPT,
    MAX_SMALL_FILE_BYTES,
    MAX_TRUE_OBJECTS,
    SuiteContent,
    plain_name,
    read_bounded,
    refuse_repeated_fields,
)
from pytest_editpitfalls.suites.held import BaseFacts
from pytest_editpitfalls.validation import usage_error

MAX_TRIPLES = 100
HEADS = (16 * 1024, 1024 * 1024)
"""Bytes that are looked at for the first row: most end before the first, all before the second."""
LICENSE = "MIT (published benchmark data)"
PROVENANCE = "Li et al., Unveiling the Pitfalls of Knowledge Editing for Large Language Models (ICLR 2024)"


def _prompt(text: str) -> str:
    if "{}" not in text:
        raise ValueError("a prompt needs a {} where the subject stands")
    return text


Text = Annotated[str, Field(max_length=MAX_LABEL)]
Prompt = Annotated[str, Field(max_length=MAX_PROMPT), AfterValidator(_prompt)]
Prompts = Annotated[list[Prompt], Field(min_length=1, max_length=MAX_PARAPHRASES)]


class Entity(TypedDict):
    """A Wikidata item; two items may share a label."""

    id: Text
    label: Text


class PublishedRelation(TypedDict):
    """A relation with its rewrite prompt."""

    id: Text
    prompt: Prompt
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


class ConflictRow(TypedDict):
    """A row of `reverse_edit.json`, `composite_edit.json` or `coverage_edit.json` (there without a rule)."""

    type: Literal["reverse", "composite", "coverage"]
    rule: NotRequired[Text]
    triples: Annotated[list[Triple], Field(min_length=1, max_length=MAX_TRIPLES)]
    edits: tuple[PublishedEdit, PublishedEdit]


class RoundRow(TypedDict):
    """A row of `easy.json` or `hard.json`; its type is "1-N@relation"."""

    type: Text
    edit: PublishedEdit
    true_objects: Annotated[list[Entity], Field(min_length=2, max_length=MAX_TRUE_OBJECTS)]


# Typed dicts, not models: a file holds some 40,000 entities, and a model for each takes three times as long.
STRICT = ConfigDict(strict=True)
# Fail fast: a file of another kind would else have a finding, with a copy of its value, for each of its items.
CONFLICT_ROWS = TypeAdapter(
    Annotated[list[ConflictRow], Field(max_length=MAX_CASES), FailFast()], config=STRICT
)
ROUND_ROWS = TypeAdapter(Annotated[list[RoundRow], Field(max_length=MAX_CASES), FailFast()], config=STRICT)
PROMPTS = TypeAdapter(dict[Text, Prompts], config=STRICT)


def read_published_suite(path: Path) -> SuiteContent:
    """Read one published file and the prompts file beside it.

    The suite is named after the file, without `_edit` ("reverse", "easy").

    Raises:
        UsageError: it is none of the published forms, or something in it is wrong; file, row, field and fix
            are named.
    """
    data = read_bounded(path)
    kind = _recognise(path, data)
    prompts_path = path.parent / ("round_prompts.json" if kind == "round" else "conflict_prompts.json")
    if not prompts_path.is_file():
        raise UsageError(
            f"the file of paraphrases, {prompts_path.name}, is not beside it",
            where=str(path),
            fix=f"copy {prompts_path.name} of the benchmark into {path.parent}",
        )
    prompts_data = read_bounded(prompts_path, MAX_SMALL_FILE_BYTES)
    try:
        prompts = PROMPTS.validate_json(prompts_data)
    except ValidationError as error:
        raise usage_error(error, str(prompts_path), None) from None
    refuse_repeated_fields(prompts_data, str(prompts_path))
    name = plain_name(path.stem.removesuffix("_edit"))
    cases = _Builder(path, name, prompts_path, prompts).cases(kind, data)
    return SuiteContent(
        name=name,
        kind=kind,
        format="published",
        cases=cases,
        thresholds=None,
        license=LICENSE,
        provenance=PROVENANCE,
        raw=(data, prompts_data),
    )


def case_id(rule: str, row: int) -> str:
    """Return the id of a published case ("P800>P170", 17 -> "P800-P170-00017")."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', rule).strip('-')}-{row:05d}"


def _recognise(path: Path, data: bytes) -> Kind:
    """Read the kind off the first row."""
    for size in HEADS:
        head = data[:size]
        try:
            rows: Any = from_json(head.decode("utf-8", "ignore"), allow_partial=len(data) > len(head))
        except ValueError as error:
            raise UsageError(
                f"not valid JSON: {error}", where=str(path), fix="fetch the file again"
            ) from None
        if rows == [] and len(data) == len(head):
            raise UsageError("the suite has no cases", where=str(path), fix="name a file that holds cases")
        first = rows[0] if isinstance(rows, list) and rows else None
        if isinstance(first, dict):
            if first.get("type") in ("reverse", "composite", "coverage"):
                kind: Kind = first["type"]
                return kind
            if "edit" in first and "true_objects" in first:
                return "round"
    raise UsageError(
        "this is none of the benchmark's files (rows with type and edits, or with edit and true_objects)",
        where=str(path),
        fix="name reverse_edit.json, composite_edit.json, coverage_edit.json, easy.json or hard.json; "
        "or write a suite in the own format (a .toml header)",
    )


class _Builder:
    """Turns validated rows into cases; relations are shared between them."""

    def __init__(self, path: Path, name: str, prompts_path: Path, prompts: dict[str, list[str]]) -> None:
        self.path = path
        self.source = str(path)
        self.name = name
        self.prompts_path = prompts_path
        self.prompts = prompts
        self._relations: dict[tuple[str, str], Relation] = {}

    def cases(self, kind: Kind, data: bytes) -> tuple[Case, ...]:
        """Validate the file once, as a whole, and build its cases."""
        if kind == "round":
            rounds: list[RoundRow] = self._rows(ROUND_ROWS, data)
            base = BaseFacts(
                Fact(row["edit"]["relation"]["id"], row["edit"]["subject"]["label"], true["label"])
                for row in rounds
                for true in row["true_objects"]
            )
            return tuple(self._round(index, row, base) for index, row in enumerate(rounds))
        conflicts: list[ConflictRow] = self._rows(CONFLICT_ROWS, data)
        base = BaseFacts(_fact(triple) for row in conflicts for triple in row["triples"])
        return tuple(self._conflict(index, row, kind, base) for index, row in enumerate(conflicts))

    def _rows(self, adapter: TypeAdapter[Any], data: bytes) -> Any:
        try:
            rows = adapter.validate_json(data)
        except ValidationError as error:
            location = error.errors(include_url=False)[0]["loc"]
            where = f"{self.path}, row {location[0]}" if location else str(self.path)
            raise usage_error(error, where, None, skip=1) from None
        refuse_repeated_fields(data, str(self.path))
        return rows

    def _conflict(self, index: int, row: ConflictRow, kind: Kind, base: BaseFacts) -> Case:
        first, second = row["edits"]
        tied = row["triples"][0] if kind == "composite" else None
        if row["type"] != kind:
            raise self._wrong(
                index, "type", f"'{row['type']}' in a file of {kind} cases", "put it into a file of its own"
            )
        if kind == "reverse" and second["subject"] != first["new_object"]:
            raise self._wrong(index, "edits.1.subject", "it is not edits.0.new_object", "correct the edits")
        if kind == "coverage" and (
            second["subject"] != first["subject"] or second["relation"]["id"] != first["relation"]["id"]
        ):
            raise self._wrong(
                index, "edits.1", "its subject or relation is not that of edits.0", "correct the edits"
            )
        if tied and (tied["object"] != first["subject"] or tied["subject"] != second["subject"]):
            raise self._wrong(
                index, "triples.0", "it does not tie the subjects of the two edits", "correct the triple"
            )
        facts: Sequence[Triple] = (first, second) if tied is None else (first, second, tied)
        rule = row.get("rule", first["relation"]["id"])
        return Case(
            id=case_id(rule, index),
            suite=self.name,
            kind=kind,
            rule=rule,
            source=self.source,
            source_index=index,
            edits=(_edit(first), _edit(second)),
            relations=self._case_relations(index, facts),
            tied=None if tied is None else _fact(tied),
            held=base.held(_fact(asked) for asked in (first, tied) if asked is not None),
        )

    def _round(self, index: int, row: RoundRow, base: BaseFacts) -> Case:
        target = row["edit"]["object"]
        if target not in row["true_objects"]:
            raise self._wrong(index, "true_objects", "the edit's object is not among them", "add it")
        return Case(
            id=case_id(row["type"], index),
            suite=self.name,
            kind="round",
            rule=row["type"],
            source=self.source,
            source_index=index,
            edits=(_edit(row["edit"]),),
            relations=self._case_relations(index, (row["edit"],)),
            true_objects=tuple(true["label"] for true in row["true_objects"]),
            others=tuple(true["label"] for true in row["true_objects"] if true["id"] != target["id"]),
            held=base.held((_fact(row["edit"]),)),
        )

    def _case_relations(self, index: int, facts: Sequence[Triple]) -> tuple[Relation, ...]:
        relations: dict[str, Relation] = {}
        for fact in facts:
            relation = self._relation(index, fact["relation"])
            if relations.setdefault(relation.id, relation) is not relation:
                raise self._wrong(
                    index, "relation.prompt", f"{relation.id} has two prompts", "use one per relation"
                )
        return tuple(relations.values())

    def _relation(self, index: int, published: PublishedRelation) -> Relation:
        name, prompt = published["id"], published["prompt"]
        relation = self._relations.get((name, prompt))
        if relation is None:
            if name not in self.prompts:
                raise self._wrong(
                    index,
                    "relation.id",
                    f"relation '{name}' has no paraphrases in {self.prompts_path.name}",
                    f"add it there; {did_you_mean(name, self.prompts)}",
                )
            relation = Relation(
                id=name,
                prompt=prompt,
                paraphrases=tuple(self.prompts[name]),
                label=published.get("label", ""),
                query=published.get("query", ""),
            )
            self._relations[name, prompt] = relation
        return relation

    def _wrong(self, index: int, field: str, what: str, fix: str) -> UsageError:
        return UsageError(what, where=f"{self.path}, row {index}, field {field}", fix=fix)


def _fact(triple: Triple) -> Fact:
    return Fact(triple["relation"]["id"], triple["subject"]["label"], triple["object"]["label"])


def _edit(edit: PublishedEdit) -> Edit:
    return Edit(
        edit["relation"]["id"], edit["subject"]["label"], edit["object"]["label"], edit["new_object"]["label"]
    )
