"""A suite: a named list of cases of one kind, with the thresholds that judge them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_editpitfalls import files
from pytest_editpitfalls.cases.case import Case, Kind
from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.garbage import held_back
from pytest_editpitfalls.pitfalls import pitfall_of
from pytest_editpitfalls.shipped import suites_directory

from . import discovery
from .readers import reader_of


@dataclass(frozen=True, slots=True)
class Suite:
    """A loaded suite.

    Attributes:
        name: the suite's name in results and gates ("reverse").
        kind: the kind of pitfall of all its cases.
        cases: the cases in canonical (file) order.
        thresholds: case thresholds as text ("cs_exp >= 1").
        license: licence of the data, or "".
        provenance: where the data come from, or "".
        source: the file that was named: a `.toml` header or a published `.json` file.
        digest: SHA-256 over every file that was read.
        format: name of the format that it was read from ("own", "published").
    """

    name: str
    kind: Kind
    cases: tuple[Case, ...] = field(repr=False)
    thresholds: tuple[str, ...]
    license: str
    provenance: str
    source: Path
    digest: str
    format: str


def load_suite(path_or_name: str | Path, *, base: Path | None = None) -> Suite:
    """Load one suite by its name or from a file.

    Args:
        path_or_name: the name of a suite that ships, a `.toml` header (own format) or a `.json` file as the
            benchmark published it (recognised by its content; the prompts file lies beside it).
        base: directory that a relative path starts from; default: the working directory.

    Raises:
        UsageError: there is no such suite or file, or its content is wrong; the message names file, line,
            field and fix.
    """
    paths = discovery.expand_suites([str(path_or_name)], base=base)
    if len(paths) != 1:
        raise UsageError(
            f"'{path_or_name}' is a group of suites", fix=f"name one: {', '.join(discovery.shipped_suites())}"
        )
    return _load_file(paths[0])


def load_suites(specs: Sequence[str], *, base: Path | None = None) -> tuple[Suite, ...]:
    """Load suites given by names, groups and paths; each file once, in the order in which they were named.

    A suite whose name is taken by an earlier one, or by one that ships, is named after its directory as well
    ("GPT-J-easy"), and its cases with it. One that ships keeps its name, so that a gate means the same in any order.

    Raises:
        UsageError: as `load_suite`; or two suites cannot be told apart by name and directory.
    """
    loaded = [_load_file(path) for path in discovery.expand_suites(specs, base=base)]
    suites = {suite.name: suite for suite in loaded if ships(suite)}
    for place, suite in enumerate(loaded):
        if suites.get(suite.name, suite) is not suite:
            loaded[place] = suite = renamed(suite, long_name(suite))
        if (other := suites.setdefault(suite.name, suite)) is not suite:
            raise UsageError(
                f"two suites are called '{suite.name}' ({other.source} and {suite.source})",
                where="--pitfalls-suite",
                fix="give one of the files or its directory another name",
            )
    return tuple(loaded)


def ships(suite: Suite) -> bool:
    """Whether the suite is one of this package's own."""
    return suite.source.parent == suites_directory()


def select_case(suite: Suite, case_id: str) -> Case:
    """Return the case with this id; raises `UsageError` with "did you mean" when the suite has none."""
    for case in suite.cases:
        if case.id == case_id:
            return case
    close = did_you_mean(case_id, [case.id for case in suite.cases[:200]])
    raise UsageError(f"suite '{suite.name}' has no case '{case_id}'", where=str(suite.source), fix=close)


@held_back()
def _load_file(path: Path) -> Suite:
    reader = reader_of(path)
    assert reader is not None, f"{path} was taken for a suite"
    content = reader.read(path)
    if not content.cases:
        raise UsageError("the suite has no cases", where=str(path), fix="add at least one case")
    return Suite(
        name=content.name,
        kind=content.kind,
        cases=content.cases,
        thresholds=pitfall_of(content.kind).thresholds if content.thresholds is None else content.thresholds,
        license=content.license,
        provenance=content.provenance,
        source=path,
        digest=files.digest(content.raw),
        format=content.format,
    )


def long_name(suite: Suite) -> str:
    """Return the name that tells a suite from another of its name: with its directory ("GPT-J-easy")."""
    folder = "shipped" if ships(suite) else files.plain_name(suite.source.parent.name)
    return f"{folder}-{suite.name}"


def renamed(suite: Suite, name: str) -> Suite:
    """Return the suite, and its cases, under another name."""
    return replace(suite, name=name, cases=tuple(replace(case, suite=name) for case in suite.cases))
