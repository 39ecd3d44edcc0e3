"""Facts as JSON Lines: one object per line, with the fields of a fact."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pytest_editpitfalls.knowledge.facts import BadFact, KnownFact, fact_from
from pytest_editpitfalls.knowledge.reading import FactReader, Progress, ReadingReport
from pytest_editpitfalls.knowledge.relations import Relations

from ._text import text_of


def read_json_lines(
    path: Path, relations: Relations, report: ReadingReport, progress: Progress | None = None
) -> Iterator[KnownFact]:
    """Give the facts of a JSON Lines file; a line that is no fact is counted."""
    with text_of(path, progress) as text:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            place = f"{path.name}:{number}"
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise BadFact("the line is no JSON object")
                fact = fact_from(record, place)
            except BadFact as error:
                report.leave_out(str(error), place)
            except (ValueError, RecursionError):
                report.leave_out("the line is not valid JSON", place)
            else:
                yield fact


READER = FactReader(name="JSON Lines", suffixes=(".jsonl", ".jsonl.gz"), read=read_json_lines)
