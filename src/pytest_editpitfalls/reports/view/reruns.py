"""The command that runs one case again, from what the record of a run says of it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.results.rerun_record import ID, RerunRecord


@dataclass(frozen=True, slots=True)
class Rerun:
    """The commands of the cases of one suite with one editor on one model; they differ in the id of the case alone.

    Attributes:
        before, after: what stands before and behind the id, quoted for a shell. An id of letters, digits, dots, dashes
            and underscores, as suites have them, needs no quotes of its own.
        test: node id of the test, with `{id}` in the place of the case's; "" where it is selected in another way.
        cases: ids of the cases that it is for; empty: all that no other one names.
    """

    suite: str
    editor: str
    model: str
    before: str
    after: str
    test: str
    cases: Sequence[str]


def reruns(records: Sequence[RerunRecord]) -> list[Rerun]:
    """Return the commands that can be shown: what a shell would read must be what a reader sees."""
    return [rerun for record in records if (rerun := _rerun(record)) is not None]


def quoted(words: Sequence[str]) -> str:
    """Return words as a line of this system's shell."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def _rerun(record: RerunRecord) -> Rerun | None:
    mark = "id"
    while any(mark in word for word in (*record.selects, *record.options)):
        mark += "0"
    parts = [word.rpartition(ID) for word in record.selects]
    if sum(bool(found) for _, found, _ in parts) != 1:
        return None
    selects = [f"{before}{mark}{after}" if found else after for before, found, after in parts]
    line = quoted(["pytest", *selects, *record.options])
    if visible(line) != line:
        return None
    before, _, after = line.partition(mark)
    test = record.selects[-1] if "::" in record.selects[-1] else ""
    return Rerun(record.suite, record.editor, record.model, before, after, test, record.cases)
