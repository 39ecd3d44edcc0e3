"""Writing and reading the result file."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from pytest_editpitfalls.files import MAX_FILE_BYTES, read_bounded
from pytest_editpitfalls.outputs import write_text
from pytest_editpitfalls.validation import usage_error

from .records import RunResults

MAX_RESULT_BYTES = 32 * MAX_FILE_BYTES


def write_results(results: RunResults, path: Path, *, where: str = "--pitfalls-json") -> None:
    """Write ``results`` as JSON; as `write_text`."""
    write_text(results.model_dump_json(indent=1) + "\n", path, where=where)


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
