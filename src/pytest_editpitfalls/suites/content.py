"""What a reader gives: the content of a suite's files, of whatever format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_editpitfalls.cases.case import Case, Kind

from .benchmarks.records import Records

LANGUAGE = "en"
"""Of a suite's facts and prompts where its header does not say."""


@dataclass(frozen=True, slots=True)
class SuiteContent:
    """What a reader found in a suite's files; ``raw`` holds the bytes of every file, header first.

    ``notes`` say what a user has to know of it: what a file of another benchmark was read as, and what was left out.
    """

    name: str
    kind: Kind
    format: str
    cases: tuple[Case, ...]
    thresholds: tuple[str, ...] | None
    license: str
    provenance: str
    raw: tuple[bytes, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reader:
    """A format that suites are read from. Each module of `suites.readers` has one, under the name ``READER``.

    Attributes:
        suffix: how the names of its files end (".toml").
        what: what its files are, for messages ("a .toml header (own format)").
        read: reads a file of this format: one suite, or one for each kind that it feeds; raises `UsageError`.
        recognises: whether a file with this suffix is of this format; asked where several formats have the suffix.
        companions: names of files that lie beside a suite's and are no suites.
        benchmark: name of the benchmark whose form it is, "" for our own format and the pitfalls benchmark's.
        records: reads the plain edits of a file of such a benchmark.
    """

    suffix: str
    what: str
    read: Callable[[Path], SuiteContent | tuple[SuiteContent, ...]]
    recognises: Callable[[Path], bool] = lambda path: True
    companions: frozenset[str] = frozenset()
    benchmark: str = ""
    records: Callable[[Path], Records] | None = None
