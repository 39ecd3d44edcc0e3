"""Where suites are found: the ones that ship by name or group, any other by path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pytest_editpitfalls.cases.case import Kind
from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.files import absolute, is_there, read_toml
from pytest_editpitfalls.options.defaults import DEFAULT_GROUP
from pytest_editpitfalls.pitfalls import PITFALLS, pitfall_of
from pytest_editpitfalls.shipped import suites_directory

from .content import LANGUAGE
from .fetched import SOURCES, fetched_files, fetched_names
from .readers import reader_of, readers


@cache
def shipped_suites() -> dict[str, Kind]:
    """Return the suites that ship with their kinds, in the order in which they run: by kind, then by name.

    The kinds are read from the headers alone, so that gates and thresholds can be checked without reading cases.
    """
    kinds = {name: str(header["kind"]) for name, header in _headers().items()}
    return dict(sorted(kinds.items(), key=lambda pair: (pitfall_of(pair[1]).order, pair[0])))


@cache
def _headers() -> dict[str, dict[str, Any]]:
    return {path.stem: read_toml(path)[0] for path in suites_directory().glob("*.toml") if is_suite(path)}


@cache
def suite_groups() -> dict[str, tuple[str, ...]]:
    """Return the names for several suites at once: the topics of their kinds, "default" and "all".

    A run that names no suite has the group "default": a suite is in it unless its header says ``default = false``. One
    in another language is in no group, as most models cannot read it: it runs where it is named.
    """
    groups: dict[str, tuple[str, ...]] = {}
    every = [name for name in shipped_suites() if _headers()[name].get("language", LANGUAGE) == LANGUAGE]
    for name in every:
        topic = pitfall_of(shipped_suites()[name]).topic.name
        groups[topic] = (*groups.get(topic, ()), name)
    unasked = tuple(name for name in every if _headers()[name].get("default", True))
    return {**groups, DEFAULT_GROUP: unasked, "all": tuple(every)}


def suite_names() -> dict[str, tuple[str, ...]]:
    """Return every name that a user can give, with the suites it stands for: the suites, then the groups."""
    return {**{name: (name,) for name in shipped_suites()}, **suite_groups()}


@dataclass(frozen=True, slots=True)
class SuiteFile:
    """A file that cases are read from, and which of them: those of one kind where it was named, otherwise all."""

    path: Path
    kind: Kind | None = None


def expand_suites(specs: Iterable[str], *, base: Path | None = None) -> tuple[SuiteFile, ...]:
    """Turn names, groups and paths into suite files, each once, in the order given.

    Args:
        specs: what the user wrote: "reverse", "conflict", "data/reverse_edit.json", "my/suite.toml",
            "data/counterfact.json::coverage", "pitfalls/gpt2-xl/reverse" (fetched).
        base: directory that a relative path starts from; default: the working directory.

    Raises:
        UsageError: an unknown name, or a path that is no suite file.
    """
    names = suite_names()
    found: dict[SuiteFile, None] = {}
    for spec in specs:
        if spec in names:
            found.update(dict.fromkeys(SuiteFile(suites_directory() / f"{name}.toml") for name in names[spec]))
        else:
            name, kind = _without_kind(spec)
            paths = fetched_files(name) or (_suite_file(name, base or Path.cwd()),)
            found.update(dict.fromkeys(SuiteFile(path, kind) for path in paths))
    return tuple(found)


def _without_kind(spec: str) -> tuple[str, Kind | None]:
    """Part "counterfact.json::coverage" into the file and the kind of its cases."""
    name, colons, kind = spec.rpartition("::")
    if not colons or "/" in kind or "\\" in kind:
        return spec, None
    if not kind:
        raise UsageError(f"'{spec}' names no kind after '::'", where="--pitfalls-suite", fix="write FILE::reverse")
    if PITFALLS.find(kind) is None:
        known = [pitfall.name for pitfall in PITFALLS]
        raise UsageError(f"unknown kind of cases '{kind}'", where="--pitfalls-suite", fix=did_you_mean(kind, known))
    return name, kind


def _suite_file(spec: str, base: Path) -> Path:
    try:
        path = base / Path(spec).expanduser()
    except RuntimeError:  # "~somebody" whose home is unknown
        path = base / spec
    is_something = is_there(path, "--pitfalls-suite")
    if path.is_dir():
        try:
            found = sorted(entry.name for entry in path.iterdir() if is_suite(entry))
        except OSError:  # it may be entered, not listed
            found = []
        fix = f"name a file in it: {', '.join(found[:10])}" if found else "it holds no suite file"
        raise UsageError(f"'{spec}' is a directory", where="--pitfalls-suite", fix=fix)
    if reader_of(path) is not None:
        if not is_something:
            raise UsageError(f"there is no file '{spec}'", where="--pitfalls-suite", fix="check the path")
        return absolute(path)
    if is_something:
        raise UsageError(
            f"'{spec}' is no suite file",
            where="--pitfalls-suite",
            fix=f"name {' or '.join(reader.what for reader in readers())}",
        )
    raise UsageError(f"unknown suite '{spec}'", where="--pitfalls-suite", fix=_meant(spec))


def _meant(spec: str) -> str:
    """What an unknown name may stand for: a suite that ships, or one that can be fetched."""
    names = [*suite_names(), *SOURCES]
    return did_you_mean(spec, fetched_names() if spec.partition("/")[0].lower() in SOURCES else names)


def is_suite(path: Path) -> bool:
    """Whether a file of this name may be a suite."""
    if any(path.name in reader.companions for reader in readers()):  # whichever other format has its suffix, too
        return False
    return any(path.suffix == reader.suffix for reader in readers())
