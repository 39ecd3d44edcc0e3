"""Reading JSON files of rows: the first row says what a file is, and a mistake is named with its row and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import MAX_BENCHMARK_BYTES, is_there, read_bounded, refuse_repeated_fields
from pytest_editpitfalls.validation import usage_error

HEADS = (16 * 1024, 1024 * 1024)
"""Bytes that are looked at for the first row: most end before the first, all before the second."""


def first_rows(path: Path) -> list[dict[str, Any]]:
    """Return the first row of a JSON file, as far as the heads hold it: once for each head.

    The file may be absent, or hold anything else than rows: then there are none.

    Raises:
        UsageError: the file cannot be read, is not UTF-8 or does not begin as JSON.
    """
    if not is_there(path) or path.is_dir():
        return []
    size = path.stat().st_size
    found: list[dict[str, Any]] = []
    for head in HEADS:
        with path.open("rb") as file:
            data = file.read(head).removeprefix(b"\xef\xbb\xbf")
        try:
            rows: Any = from_json(data.decode("utf-8", "ignore"), allow_partial=size > head)
        except ValueError:
            return found  # whoever reads the file says what is wrong with it
        first = rows[0] if isinstance(rows, list) and rows else None
        if isinstance(first, dict):
            found.append(first)
        if size <= head:
            break
    return found


def read_rows(path: Path, rows: TypeAdapter[list[Any]], what: str) -> tuple[list[Any], bytes]:
    """Return the validated rows of a file, and its bytes.

    Args:
        path: the file.
        rows: validates it as a whole.
        what: what the file is, for messages ("a CounterFact file").

    Raises:
        UsageError: it is too large, not UTF-8, no JSON, holds no row, or a row is wrong; row and field are named.
    """
    data = read_bounded(path, MAX_BENCHMARK_BYTES)
    try:
        found = rows.validate_json(data)
    except ValidationError as error:
        location = error.errors(include_url=False)[0]["loc"]
        row = f", row {location[0]}" if location else ""
        raise usage_error(error, f"{path}{row}{f' ({what})' if row else ''}", None, skip=1) from None
    if not found:
        raise UsageError("the file has no records", where=str(path), fix="name a file that holds some")
    refuse_repeated_fields(data, str(path))
    return found, data


def refuse_no_rows(path: Path) -> None:
    """Raise `UsageError` where a JSON file that nobody recognises is no list of rows at all: the message says so."""
    data = read_bounded(path, MAX_BENCHMARK_BYTES)
    try:
        rows: Any = from_json(data)
    except ValueError as error:
        raise UsageError(f"not valid JSON: {error}", where=str(path), fix="fetch the file again") from None
    if rows == []:
        raise UsageError("the suite has no cases", where=str(path), fix="name a file that holds cases")
    if not (isinstance(rows, list) and isinstance(rows[0], dict)):
        raise UsageError(
            "the file holds no list of records",
            where=str(path),
            fix="name a file of a benchmark, or write a suite in the own format (a .toml header)",
        )
