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
from .content import SuiteContent
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
        format: name of the format that it was read from ("own", "published", "CounterFact").
        notes: what a user has to know of it: what the file was read as, and what was left out.
        is_part: whether its file feeds several kinds, of which this is one.
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
    notes: tuple[str, ...] = ()
    is_part: bool = False

    @property
    def spec(self) -> str:
        """How a command line names it: by its name when it ships, otherwise by its path, with the kind if need be."""
        if ships(self):
            return self.source.stem
        return f"{self.source}::{self.kind}" if self.is_part else str(self.source)


def load_suite(path_or_name: str | Path, *, base: Path | None = None) -> Suite:
    """Load one suite by its name or from a file.

    Args:
        path_or_name: the name of a suite that ships (also where a group has the same), a `.toml` header (own format),
            or a `.json` file as a benchmark published it (recognised by its content), with "::kind" where it feeds
            several kinds.
        base: directory that a relative path starts from; default: the working directory.

    Raises:
        UsageError: there is no such suite or file, or its content is wrong; the message names file, line,
            field and fix.
    """
    if path_or_name in discovery.shipped_suites():
        path_or_name = suites_directory() / f"{path_or_name}.toml"
    files = discovery.expand_suites([str(path_or_name)], base=base)
    if len(files) != 1:
        raise UsageError(
            f"'{path_or_name}' is a group of suites", fix=f"name one: {', '.join(discovery.shipped_suites())}"
        )
    suites = _load_file(files[0])
    if len(suites) != 1:
        kinds = [suite.kind for suite in suites]
        raise UsageError(
            f"'{path_or_name}' feeds several kinds of cases: {', '.join(kinds)}",
            fix=f"name one, for instance {path_or_name}::{kinds[0]}",
        )
    return suites[0]


def load_suites(specs: Sequence[str], *, base: Path | None = None) -> tuple[Suite, ...]:
    """Load suites given by names, groups and paths; each file once, in the order in which they were named.

    A file of another benchmark gives a suite for each kind that it can feed ("counterfact-coverage").

    A suite whose name is taken by an earlier one, or by one that ships, is named after its directory as well
    ("GPT-J-easy"), and its cases with it. One that ships keeps its name, so that a gate means the same in any order.

    Raises:
        UsageError: as `load_suite`; or two suites cannot be told apart by name and directory.
    """
    found = (_load_file(file) for file in discovery.expand_suites(specs, base=base))
    loaded = list({(suite.source, suite.kind): suite for group in found for suite in group}.values())
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
def _load_file(file: discovery.SuiteFile) -> tuple[Suite, ...]:
    """Read a file into its suites: one, or one for each kind that it feeds."""
    reader = reader_of(file.path)
    assert reader is not None, f"{file.path} was taken for a suite"
    read = reader.read(file.path)
    contents = read if isinstance(read, tuple) else (read,)
    wanted = [content for content in contents if file.kind in (None, content.kind)]
    if not wanted:
        kinds = [content.kind for content in contents]
        raise UsageError(
            f"the file has no {file.kind} cases, only {' and '.join(kinds)} cases",
            where=str(file.path),
            fix=f"name {file.path.name}::{kinds[0]}",
        )
    return tuple(_suite(file.path, content, is_part=isinstance(read, tuple)) for content in wanted)


def _suite(path: Path, content: SuiteContent, *, is_part: bool) -> Suite:
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
        notes=content.notes,
        is_part=is_part,
    )


def long_name(suite: Suite) -> str:
    """Return the name that tells a suite from another of its name: with its directory ("GPT-J-easy")."""
    folder = "shipped" if ships(suite) else files.plain_name(suite.source.parent.name)
    return f"{folder}-{suite.name}"


def renamed(suite: Suite, name: str) -> Suite:
    """Return the suite, and its cases, under another name."""
    return replace(suite, name=name, cases=tuple(replace(case, suite=name) for case in suite.cases))
