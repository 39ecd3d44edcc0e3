"""Facts as JSON Lines: one object per line, with the fields of a fact."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_editpitfalls.knowledge.facts import BadFact, KnownFact, fact_from
from pytest_editpitfalls.knowledge.reading import FactReader, Reading

from ._text import LONGEST_LINE, lines_of


def read_json_lines(path: Path, reading: Reading) -> Iterator[KnownFact]:
    """Give the facts of a JSON Lines file; a line that is no fact is counted. Raises `UsageError` as `lines_of`."""
    for number, line in lines_of(path, reading.progress):
        if line is not None and not line.strip():
            continue
        place = f"{path.name}:{number}"
        try:
            fact = fact_from(_record(line), place)
        except BadFact as error:
            reading.report.leave_out(str(error), place)
        else:
            yield fact


def _record(line: str | None) -> dict[str, Any]:
    if line is None:
        raise BadFact(f"the line has more than {LONGEST_LINE:,} bytes")
    try:
        record = json.loads(line, object_pairs_hook=_once)
    except BadFact:
        raise
    except (ValueError, RecursionError):
        raise BadFact("the line is not valid JSON") from None
    if not isinstance(record, dict):
        raise BadFact("the line is no JSON object")
    return record


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's fields; readers differ on which of two with one name counts, so there may be only one."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise BadFact("a field stands twice in one object")
    return fields


READER = FactReader(name="JSON Lines", suffixes=(".jsonl", ".ndjson"), read=read_json_lines)
