"""Facts as CSV: a header line with the names of the columns, one fact per line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.knowledge.facts import FIELDS, REQUIRED, BadFact, KnownFact, fact_from
from pytest_editpitfalls.knowledge.reading import FactReader, Progress, ReadingReport
from pytest_editpitfalls.knowledge.relations import Relations

from ._text import text_of


def read_csv(
    path: Path, relations: Relations, report: ReadingReport, progress: Progress | None = None
) -> Iterator[KnownFact]:
    """Give the facts of a CSV file; raises `UsageError` where its header lacks a column that is needed."""
    with text_of(path, progress) as text:
        try:
            rows = csv.DictReader(text, strict=True)
            columns = rows.fieldnames or ()
            for name in REQUIRED:
                if name not in columns:
                    raise UsageError(
                        f"there is no column '{name}'" if columns else "the file is empty",
                        where=f"{path}:1",
                        fix=f"write a first line with the columns {', '.join(REQUIRED)}; {did_you_mean(name, columns)}",
                    )
            if unknown := [name for name in columns if name not in FIELDS]:
                report.notes.append(f"{path.name}: columns that are not read: {', '.join(unknown)}")
            for row in rows:
                place = f"{path.name}:{rows.line_num}"
                try:
                    if None in row:
                        raise BadFact("the line has more fields than the header")
                    fact = fact_from(row, place)
                except BadFact as error:
                    report.leave_out(str(error), place)
                    continue
                yield fact
        except csv.Error as error:
            raise UsageError(
                f"not valid CSV: {error}", where=f"{path}:{rows.line_num}", fix="correct the line"
            ) from None


READER = FactReader(name="CSV", suffixes=(".csv", ".csv.gz"), read=read_csv)
