"""Facts as Parquet: the columns of a table of facts; aliases as lists or separated by |. Needs pyarrow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.knowledge.facts import ALIASES, FIELDS, REQUIRED, BadFact, KnownFact, fact_from
from pytest_editpitfalls.knowledge.reading import FactReader, Reading

from ._text import bytes_of

_ROWS = 4096
"""Rows that are in memory at once."""


def read_parquet(path: Path, reading: Reading) -> Iterator[KnownFact]:
    """Give the facts of a Parquet file.

    Raises:
        UsageError: pyarrow is not installed, the file cannot be read or breaks off, a column is missing, stands there
            twice, or is of a wrong type.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UsageError(
            "reading Parquet needs pyarrow", where=str(path), fix='pip install "pytest-editpitfalls[parquet]"'
        ) from None
    with bytes_of(path):  # says what is wrong with a path
        pass
    with _named(path, pyarrow.ArrowException):
        table = parquet.ParquetFile(path, page_checksum_verification=True)
    with _named(path, pyarrow.ArrowException), table:
        columns = _columns(table.schema_arrow, path, reading)
        number = read = 0
        for group in range(table.num_row_groups):
            for batch in table.iter_batches(_ROWS, row_groups=[group], columns=columns):
                for record in batch.to_pylist():
                    number += 1
                    place = f"{path.name}, row {number}"
                    try:
                        fact = fact_from(_plain(record), place)
                    except BadFact as error:
                        reading.report.leave_out(str(error), place)
                    else:
                        yield fact
            if reading.progress is not None:
                of_group = table.metadata.row_group(group)
                read += sum(of_group.column(c).total_compressed_size for c in range(of_group.num_columns))
                reading.progress(path, read, path.stat().st_size)


@contextmanager
def _named(path: Path, broken: type[Exception]) -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise
    except (broken, OSError, UnicodeDecodeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UsageError(
            f"the file cannot be read as Parquet: {reason}", where=str(path), fix="fetch it or write it again"
        ) from None


def _columns(schema: Any, path: Path, reading: Reading) -> list[str]:
    """The columns to read, checked."""
    for name in REQUIRED:
        if name not in schema.names:
            raise UsageError(
                f"there is no column '{name}'", where=str(path), fix=f"add it; {did_you_mean(name, schema.names)}"
            )
    if unknown := [name for name in schema.names if name not in FIELDS]:
        reading.report.notes.append(f"{path.name}: columns that are not read: {', '.join(unknown)}")
    known = Counter(name for name in schema.names if name in FIELDS)
    for name, times in known.items():
        if times > 1:
            raise UsageError(f"there are {times} columns '{name}'", where=str(path), fix="keep one of them")
        found = schema.field(name).type
        if (wanted := _wanted_instead(name, found)) is not None:
            raise UsageError(f"column '{name}' is of type {found}", where=str(path), fix=f"write it as {wanted}")
    return list(known)


def _wanted_instead(name: str, found: Any) -> str | None:
    """What a column should be, where it is of a wrong type."""
    from pyarrow import types

    def is_text(kind: Any) -> bool:
        if types.is_dictionary(kind):
            kind = kind.value_type
        return any(is_kind(kind) for is_kind in (types.is_string, types.is_large_string, types.is_null))

    number = types.is_integer(found) or types.is_floating(found) or types.is_null(found)
    if name in ALIASES:
        lists = types.is_list(found) or types.is_large_list(found)
        return None if is_text(found) or (lists and is_text(found.value_type)) else "text or a list of texts"
    if name == "popularity":
        return None if number else "a number"
    if name == "date":
        year = types.is_integer(found) or types.is_date(found) or types.is_timestamp(found)
        return None if year or is_text(found) else "text, a year or a date"
    if name in ("subject", "object") and types.is_integer(found):  # "atomic number"
        return None
    return None if is_text(found) else "text"


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    for name in ALIASES:
        if isinstance(record.get(name), list):
            record[name] = [alias for alias in record[name] if alias is not None]
    date = record.get("date")
    if date is not None and hasattr(date, "isoformat"):
        record["date"] = date.isoformat()[:10]
    return record


READER = FactReader(name="Parquet", suffixes=(".parquet",), read=read_parquet)
