"""A reader of suites made of a benchmark's form: one suite for each kind of pitfall that its records can feed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import plain_name

from .benchmarks.cases import FEEDS, Feed
from .benchmarks.json_rows import first_rows, read_rows
from .benchmarks.records import Form, Records
from .content import Reader, SuiteContent

LICENSE = "as published; see the benchmark"


def reader_for(form: Form) -> Reader:
    """Return the reader of a form."""
    return Reader(
        suffix=".json",
        what=form.what,
        read=partial(read_benchmark, form),
        recognises=partial(_recognises, form),
        benchmark=form.name,
        records=partial(records_of, form),
    )


def _recognises(form: Form, path: Path) -> bool:
    return any(form.recognises(row) for row in first_rows(path))


def records_of(form: Form, path: Path) -> Records:
    """Read what a file says; raises `UsageError` where it, or a record of it, is wrong."""
    return _read(form, path)[0]


def _read(form: Form, path: Path) -> tuple[Records, bytes]:
    rows, data = read_rows(path, form.rows, f"this is {form.what}")
    records = Records(form.name, count=len(rows))
    form.read(rows, records, path)
    return records, data


def read_benchmark(form: Form, path: Path) -> tuple[SuiteContent, ...]:
    """Read a file into a suite for each kind that it can feed, in the order of the kinds.

    Raises:
        UsageError: the file is wrong, or no record of it can be a case; it is said why, with counts.
    """
    records, data = _read(form, path)
    name = plain_name(path.stem)
    found = [(kind, FEEDS[kind](records, f"{name}-{kind}", str(path))) for kind in form.kinds]
    if not any(feed.cases for _, feed in found):
        why = "; ".join(dict.fromkeys(line for _, feed in found for line in feed.lines()))
        more = "; ".join(left_out(records))
        raise UsageError(
            f"this is {form.what} with {_many(records.count, 'record')}, and none of them can be a case "
            f"({why}{'; ' + more if more else ''})",
            where=str(path),
            fix="its edits can still be checked and audited: editpitfalls lint, or --pitfalls-edits",
        )
    return tuple(
        SuiteContent(
            name=f"{name}-{kind}",
            kind=kind,
            format=form.name,
            cases=feed.cases,
            thresholds=None,
            license=LICENSE,
            provenance=form.provenance,
            raw=(data,),
            notes=(_summary(form, path, records, kind, feed), *left_out(records)),
        )
        for kind, feed in found
        if feed.cases
    )


def _summary(form: Form, path: Path, records: Records, kind: str, feed: Feed) -> str:
    text = f"{path.name} is {form.what}: {_many(len(feed.cases), f'{kind} case')} of {_many(records.count, 'record')}"
    lines = "; ".join(feed.lines())
    return f"{text} ({lines})" if lines else text


def left_out(records: Records) -> list[str]:
    """Return a line for each reason for which something was left out, with its count and first row."""
    return [
        f"{_many(count, 'record')}: {reason} (first: row {records.first[reason]})"
        for reason, count in records.left_out.most_common()
    ]


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
