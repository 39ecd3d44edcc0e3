"""The benchmark's published files: `reverse_edit.json`, ..., `easy.json`, with the prompts file beside them.

A file is recognised by its content, not by its name; labels and prompts are kept byte for byte. What a row of each kind
is like is said by the kind (`Pitfall.published_file`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from pytest_editpitfalls.cases.case import Case, Relation
from pytest_editpitfalls.errors import RowError, UsageError, did_you_mean
from pytest_editpitfalls.files import (
    MAX_PARAPHRASES,
    MAX_SMALL_FILE_BYTES,
    is_there,
    plain_name,
    read_bounded,
    refuse_repeated_fields,
)
from pytest_editpitfalls.pitfalls import PITFALLS
from pytest_editpitfalls.pitfalls._published_files import (
    PublishedFile,
    PublishedPrompt,
    PublishedRelation,
    Text,
    Triple,
)
from pytest_editpitfalls.suites.benchmarks.json_rows import first_rows
from pytest_editpitfalls.suites.content import Reader, SuiteContent
from pytest_editpitfalls.suites.held import BaseFacts
from pytest_editpitfalls.validation import usage_error

LICENSE = "MIT (published benchmark data)"
PROVENANCE = "Li et al., Unveiling the Pitfalls of Knowledge Editing for Large Language Models (ICLR 2024)"

Prompts = Annotated[list[PublishedPrompt], Field(min_length=1, max_length=MAX_PARAPHRASES)]
PROMPTS = TypeAdapter(dict[Text, Prompts], config=ConfigDict(strict=True))


def _published_files() -> dict[str, PublishedFile]:
    """Kind -> how it is read."""
    return {kind.name: kind.published_file for kind in PITFALLS if kind.published_file is not None}


def read_published_suite(path: Path) -> SuiteContent:
    """Read one published file and the prompts file beside it.

    The suite is named after the file, without `_edit` ("reverse", "easy").

    Raises:
        UsageError: it is none of the published forms, or something in it is wrong; file, row, field and fix
            are named.
    """
    data = read_bounded(path)
    kind = next(filter(None, map(_kind_of, first_rows(path))), None)
    assert kind is not None, f"{path} was recognised"
    form = _published_files()[kind]
    prompts_path = path.parent / form.prompts
    if not is_there(prompts_path):
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
    return SuiteContent(
        name=name,
        kind=kind,
        format="published",
        cases=_Builder(path, name, kind, form, prompts).cases(data),
        thresholds=None,
        license=LICENSE,
        provenance=PROVENANCE,
        raw=(data, prompts_data),
    )


READER = Reader(
    suffix=".json",
    what="a published .json file",
    read=read_published_suite,
    recognises=lambda path: any(_kind_of(row) for row in first_rows(path)),
    companions=frozenset({"conflict_prompts.json", "round_prompts.json"}),
)


def case_id(rule: str, row: int) -> str:
    """Return the id of a published case ("P800>P170", 17 -> "P800-P170-00017")."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', rule).strip('-')}-{row:05d}"


def _kind_of(first: dict[str, Any]) -> str | None:
    """Read the kind off a first row."""
    return next((kind for kind, form in _published_files().items() if form.recognises(first)), None)


class _Builder:
    """Turns validated rows into cases; relations are shared between them."""

    def __init__(self, path: Path, suite: str, kind: str, form: PublishedFile, prompts: dict[str, list[str]]) -> None:
        self.path = path
        self.source = str(path)
        self.suite = suite
        self.kind = kind
        self.form = form
        self.prompts = prompts
        self._relations: dict[tuple[str, str], Relation] = {}

    def cases(self, data: bytes) -> tuple[Case, ...]:
        """Validate the file once, as a whole, and build its cases."""
        try:
            rows = self.form.rows.validate_json(data)
        except ValidationError as error:
            location = error.errors(include_url=False)[0]["loc"]
            where = f"{self.path}, row {location[0]}" if location else str(self.path)
            raise usage_error(error, where, None, skip=1) from None
        refuse_repeated_fields(data, str(self.path))
        base = BaseFacts(fact for row in rows for fact in self.form.base_facts(row))
        return tuple(self._case(index, row, base) for index, row in enumerate(rows))

    def _case(self, index: int, published: Any, base: BaseFacts) -> Case:
        group = self.form.group(published)
        try:
            row = self.form.row(case_id(group, index), group, published)
        except RowError as error:
            raise self._wrong(index, error.field, error.what, error.fix) from None
        return Case(
            suite=self.suite,
            kind=self.kind,
            source=self.source,
            source_index=index,
            row=row,
            relations=self._case_relations(index, self.form.facts(published)),
            held=base.held(row.held_facts()),
        )

    def _case_relations(self, index: int, facts: Sequence[Triple]) -> tuple[Relation, ...]:
        relations: dict[str, Relation] = {}
        for fact in facts:
            relation = self._relation(index, fact["relation"])
            if relations.setdefault(relation.id, relation) is not relation:
                raise self._wrong(index, "relation.prompt", f"{relation.id} has two prompts", "use one per relation")
        return tuple(relations.values())

    def _relation(self, index: int, published: PublishedRelation) -> Relation:
        name, prompt = published["id"], published["prompt"]
        relation = self._relations.get((name, prompt))
        if relation is None:
            if name not in self.prompts:
                raise self._wrong(
                    index,
                    "relation.id",
                    f"relation '{name}' has no paraphrases in {self.form.prompts}",
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
