"""Writing and reading the result file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from pytest_editpitfalls.files import MAX_FILE_BYTES, read_bounded
from pytest_editpitfalls.outputs import write_text
from pytest_editpitfalls.validation import usage_error

from .records import RunResults

_NO_CASES = '\n "cases": [],'

MAX_RESULT_BYTES = 32 * MAX_FILE_BYTES


def write_results(results: RunResults, path: Path, *, where: str = "--pitfalls-json") -> None:
    """Write ``results`` as JSON; as `write_text`."""
    write_text(_pieces(results), path, where=where)


def _pieces(results: RunResults) -> Iterator[str]:
    """The text of ``results.model_dump_json(indent=1)``, case by case: the whole may take hundreds of megabytes."""
    head, between, tail = results.model_copy(update={"cases": []}).model_dump_json(indent=1).partition(_NO_CASES)
    yield head
    if results.cases:
        assert between, "the cases are a field of their own line"
        opening = _NO_CASES.removesuffix("],")
        for case in results.cases:
            yield opening + "\n  " + case.model_dump_json(indent=1).replace("\n", "\n  ")
            opening = ","
        between = "\n ],"
    yield f"{between}{tail}\n"


def read_results(path: Path | str) -> RunResults:
    """Read a result file, as ``--pitfalls-json`` writes it.

    Raises:
        UsageError: it is absent, unreadable, too large, or no result file of this schema version.
    """
    data = read_bounded(Path(path), MAX_RESULT_BYTES)
    try:
        return RunResults.model_validate_json(data)
    except ValidationError as error:
        raise usage_error(error, str(path), RunResults) from None
