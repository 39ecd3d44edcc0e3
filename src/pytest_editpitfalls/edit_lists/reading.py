"""Read a list of edits: JSON Lines, CSV, a JSON list, or the JSON files of other benchmarks."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.files import MAX_CASES, read_bounded, refuse_repeated_fields
from pytest_editpitfalls.knowledge import Relations

from .benchmarks import read_benchmark_edits
from .forms import FIELDS, StatedEdit, stated
from .planned import EditList, PlannedEdit
from .wording import Wordings

_SHOWN = 10
"""Mistakes of a file that are shown at once."""

SUFFIXES = (".jsonl", ".csv", ".json")


class _Mistakes(UsageError):
    """Several mistakes of one file, one a line."""

    _keeps_lines = True


def read_edits(path: Path, relations: Relations) -> EditList:
    """Read a list of edits and find the relation of each.

    An edit whose relation is not named is one of a known relation where its prompt is among that relation's wordings.
    An unknown relation with a prompt of its own is kept: nothing is known of it but its prompt.

    Raises:
        UsageError: the file cannot be read, holds no edit, or edits in it are wrong: each with file, line and field.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            "no reader of edits knows this kind of file",
            where=str(path),
            fix=f"give a file that ends in {', '.join(SUFFIXES)}",
        )
    if suffix == ".json" and (known := read_benchmark_edits(path, relations)) is not None:
        return _checked(known)
    lines = {".jsonl": _json_lines, ".csv": _csv, ".json": _json}[suffix]
    edits, notes = _of_lines(lines(read_bounded(path).decode("utf-8"), path), relations, Wordings(relations))
    counted = "record" if suffix == ".json" else "line"
    return _checked(EditList(path, counted, tuple(edits), tuple(notes)))


def _checked(found: EditList) -> EditList:
    """Return a list; raises `UsageError` where it is empty or too long."""
    if not found.edits:
        raise UsageError("there are no edits in the file", where=str(found.path), fix="write one edit a line")
    if len(found.edits) > MAX_CASES:
        raise UsageError(f"more than {MAX_CASES:,} edits", where=str(found.path), fix="split the file")
    return found


def _of_lines(
    records: Iterable[tuple[int, str, Any]], relations: Relations, wordings: Wordings
) -> tuple[list[PlannedEdit], list[str]]:
    """Return the edits of a list in this project's form, and notes; raises `UsageError` with all mistakes."""
    edits: list[PlannedEdit] = []
    ids: dict[str, str] = {}
    unread: dict[str, str] = {}

    def take(number: int, place: str, record: Any) -> None:
        if isinstance(record, UsageError):
            raise record
        edit = _planned(stated(record, place), number, place, relations, wordings)
        if edit.id in ids:
            what = f"the id '{edit.id}' is that of {ids[edit.id]}, too"
            raise UsageError(what, where=f"{place}, field id", fix="give every edit its own id, or none")
        ids[edit.id] = place
        edits.append(edit)
        for name in record:
            if name not in FIELDS:
                unread.setdefault(str(name), place)

    mistakes = [mistake for each in records if (mistake := _mistake(take, *each)) is not None]
    if len(mistakes) == 1:
        raise mistakes[0]
    if mistakes:
        shown = "\n".join(str(mistake) for mistake in mistakes[:_SHOWN])
        more = f"\nand {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
        raise _Mistakes(f"{len(mistakes)} mistakes in the list of edits\n{shown}{more}")
    names = ", ".join(f"'{name}' (first: {place})" for name, place in unread.items())
    return edits, [f"fields that are not read: {names}"] if names else []


def _mistake(take: Callable[[int, str, Any], None], number: int, place: str, record: Any) -> UsageError | None:
    try:
        take(number, place, record)
    except UsageError as error:
        return error
    return None


def _planned(edit: StatedEdit, number: int, place: str, relations: Relations, wordings: Wordings) -> PlannedEdit:
    relation = ""
    if edit.relation is not None:
        named = relations.named(edit.relation)
        if named is None and edit.prompt is None:
            named = relations.get_named(edit.relation, where=f"{place}, field relation")
        relation = "" if named is None else named.id
    if not relation and edit.prompt is not None:
        relation = wordings.relation_of(edit.prompt)
    return PlannedEdit(
        number=number,
        place=place,
        id=edit.id or f"{number:04d}",
        subject=edit.subject,
        relation=relation,
        prompt=edit.prompt or "",
        target_new=edit.target_new,
        target_true=edit.target_true or "",
        stated_relation=edit.relation or "",
    )


Records = Iterator[tuple[int, str, Any]]
"""Number, place and value of each record; the value is a `UsageError` where the record cannot be read."""


def _json_lines(text: str, path: Path) -> Records:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = f"{path}:{number}"
            yield number, place, _loads(line, place)


def _json(text: str, path: Path) -> Records:
    records = _loads(text, str(path))
    if isinstance(records, UsageError):
        raise records
    if not isinstance(records, list):
        raise UsageError("the file is not a list of records", where=str(path), fix="write [{...}, {...}]")
    for number, record in enumerate(records, 1):
        yield number, f"{path}, record {number}", record


def _csv(text: str, path: Path) -> Records:
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = rows.fieldnames or ()
        for name in ("subject", "target_new"):
            if name not in columns:
                raise UsageError(
                    f"there is no column '{name}'" if columns else "the file is empty",
                    where=f"{path}:1",
                    fix=f"write a first line with the columns subject, relation (or prompt), target_new; "
                    f"{did_you_mean(name, columns)}",
                )
        for row in rows:
            place = f"{path}:{rows.line_num}"
            if None in row:
                yield (
                    rows.line_num,
                    place,
                    UsageError(
                        "the line has more fields than the header", where=place, fix='put text with commas into "..."'
                    ),
                )
                continue
            yield rows.line_num, place, {name: value for name, value in row.items() if value not in ("", None)}
    except csv.Error as error:
        raise UsageError(f"not valid CSV: {error}", where=f"{path}:{rows.line_num}", fix="correct the line") from None


def _loads(text: str, place: str) -> Any:
    try:
        value = json.loads(text)
        refuse_repeated_fields(text.encode(), place)
        return value
    except UsageError as error:
        return error
    except RecursionError:
        return UsageError("not valid JSON: nested too deeply", where=place, fix="correct the line")
    except ValueError as error:
        return UsageError(f"not valid JSON: {error}", where=place, fix="correct the line")
