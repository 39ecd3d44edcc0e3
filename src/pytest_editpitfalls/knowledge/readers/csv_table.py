"""Facts as CSV: a header line with the names of the columns, one fact per line. `.tsv` is the same with tabs."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.knowledge.facts import FIELDS, REQUIRED, BadFact, KnownFact, fact_from
from pytest_editpitfalls.knowledge.reading import FactReader, Reading

from ._text import LONGEST_LINE, lines_of


def read_csv(path: Path, reading: Reading) -> Iterator[KnownFact]:
    """Give the facts of a CSV file.

    Raises:
        UsageError: the file cannot be read or is not CSV; its header lacks a column, or has one twice.
    """
    tabs = ".tsv" in path.suffixes[-2:]
    rows = csv.reader(_lines(path, reading), delimiter="\t" if tabs else ",", strict=True)
    try:
        columns = next(rows, [])
        _check(columns, path, "tabs" if tabs else "commas")
        if unknown := [name for name in columns if name not in FIELDS]:
            reading.report.notes.append(f"{path.name}: columns that are not read: {', '.join(unknown)}")
        wanted = [(name, place) for place, name in enumerate(columns) if name in FIELDS]
        for row in rows:
            place = f"{path.name}:{rows.line_num}"
            try:
                if len(row) != len(columns):
                    if not row:
                        continue
                    more = "more" if len(row) > len(columns) else "fewer"
                    raise BadFact(f"the line has {more} fields than the header")
                fact = fact_from({name: row[column] for name, column in wanted}, place)
            except BadFact as error:
                reading.report.leave_out(str(error), place)
            else:
                yield fact
    except csv.Error as error:
        raise UsageError(
            f"not valid CSV: {error}",
            where=f"{path}:{rows.line_num}",
            fix="correct the line; a quotation mark that is not closed takes in all lines below it",
        ) from None


def _lines(path: Path, reading: Reading) -> Iterator[str]:
    for number, line in lines_of(path, reading.progress):
        if line is None:
            raise UsageError(
                f"a line of more than {LONGEST_LINE:,} bytes",
                where=f"{path}:{number}",
                fix="write one fact per line; check that the file is CSV",
            )
        yield line


def _check(columns: list[str], path: Path, separator: str) -> None:
    header = ", ".join(REQUIRED)
    for name in REQUIRED:
        if name not in columns:
            raise UsageError(
                f"there is no column '{name}'" if columns else "the file is empty",
                where=f"{path}:1",
                fix=f"write a first line with the columns {header}, separated by {separator}; "
                + did_you_mean(name, columns),
            )
    name, times = Counter(name for name in columns if name in FIELDS).most_common(1)[0]
    if times > 1:
        raise UsageError(f"there are {times} columns '{name}'", where=f"{path}:1", fix="keep one of them")


READER = FactReader(name="CSV", suffixes=(".csv", ".tsv"), read=read_csv)
