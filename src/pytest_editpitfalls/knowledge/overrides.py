"""Corrections of tables of facts: what is outdated or wrong in a source, decided by hand in `overrides.csv`."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.files import read_bounded

from .facts import BadFact, Key, KnownFact, fact_from, names_of, plain
from .reading import ReadingReport
from .relations import Relations

OVERRIDES_FILE = "overrides.csv"
COLUMNS = ("subject", "relation", "object", "action", "reason", "source")
USE, DROP = "use", "drop"
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Override:
    """One line of `overrides.csv`.

    Attributes:
        fact: what it speaks of.
        action: "drop": the fact is wrong. "use": it is right; of a functional relation, every other object is wrong.
        reason: why.
    """

    fact: KnownFact
    action: str
    reason: str


def read_overrides(path: Path) -> tuple[Override, ...]:
    """Read an `overrides.csv`.

    Raises:
        UsageError: it cannot be read, or a line is wrong: a correction that is passed over would be believed in.
    """
    lines = csv.reader(read_bounded(path).decode("utf-8").splitlines(), strict=True)
    overrides = []
    try:
        columns = next(lines, [])
        for name in COLUMNS[:4]:
            if columns.count(name) != 1:
                raise UsageError(
                    f"there {'is no column' if name not in columns else 'are two columns'} '{name}'",
                    where=f"{path}:1",
                    fix=f"write a first line with {','.join(COLUMNS)}",
                )
        for cells in lines:
            if cells:
                where = f"{path}:{lines.line_num}"
                if len(cells) != len(columns):
                    raise UsageError(
                        f"{len(cells)} fields, and the header has {len(columns)}", where=where, fix="correct the line"
                    )
                overrides.append(_override(dict(zip(columns, cells, strict=True)), where, path, lines.line_num))
    except csv.Error as error:
        raise UsageError(f"not valid CSV: {error}", where=f"{path}:{lines.line_num}", fix="correct the line") from None
    return tuple(overrides)


def _override(row: dict[str, str], where: str, path: Path, line: int) -> Override:
    action = row["action"].strip().lower()
    if action not in (USE, DROP):
        raise UsageError(f"unknown action '{action}'", where=where, fix=did_you_mean(action, (USE, DROP)))
    record = {name: row.get(name, "") for name in ("subject", "relation", "object", "source")}
    try:
        fact = fact_from(record, f"{path.name}:{line}")
    except BadFact as error:
        raise UsageError(str(error), where=where, fix="correct the line") from None
    return Override(fact, action, row.get("reason", "").strip() or "no reason given")


def apply_overrides(
    facts: MutableMapping[Key, KnownFact],
    overrides: Sequence[Override],
    relations: Relations,
    report: ReadingReport,
) -> set[tuple[str, str]]:
    """Correct the facts in place; what is dropped or added is counted, and what matches nothing is noted.

    Returns:
        Relation and subject (plain) of which an override says what is true.
    """
    decided: set[tuple[str, str]] = set()
    spoken_of = _spoken_of(facts, {_id(override, relations) for override in overrides})
    idle: list[str] = []
    added = 0
    for override in overrides:
        fact = override.fact
        relation = _id(override, relations)
        known = [key for key in spoken_of.get((relation, plain(fact.subject)), ()) if key in facts]
        same = [key for key in known if plain(fact.object) in names_of(facts[key], "object")]
        if not relation:
            idle.append(f"{fact.place} (unknown relation '{fact.relation}')")
        elif override.action == DROP:
            if not same:
                idle.append(fact.place)
            for key in same:
                _drop(facts, key, override, report)
        else:
            decided.add((relation, plain(fact.subject)))
            decided.update((relation, key[1]) for key in known)
            if not same:
                key, new = _new(fact, relation, [facts[key] for key in known])
                facts[key] = new
                spoken_of[relation, key[1]].append(key)
                added += 1
            if relations[relation].functional:
                for key in known:
                    if key not in same:
                        _drop(facts, key, override, report)
    if added:
        report.notes.append(f"{added} fact{'s' if added > 1 else ''} that no table has, added by overrides")
    if idle:
        more = f" and {len(idle) - _SHOWN} more" if len(idle) > _SHOWN else ""
        report.notes.append(f"overrides that match nothing: {', '.join(idle[:_SHOWN])}{more}")
    return decided


def _id(override: Override, relations: Relations) -> str:
    named = relations.named(override.fact.relation)
    return "" if named is None else named.id


def _spoken_of(facts: Mapping[Key, KnownFact], relations: set[str]) -> dict[tuple[str, str], list[Key]]:
    """The facts of some relations by each name of their subjects."""
    found: dict[tuple[str, str], list[Key]] = defaultdict(list)
    for key, fact in facts.items():
        if key[0] in relations:
            for name in names_of(fact, "subject"):
                found[key[0], name].append(key)
    return found


def _new(fact: KnownFact, relation: str, known: Sequence[KnownFact]) -> tuple[Key, KnownFact]:
    """The fact of an override, with what the tables know of its subject."""
    if known:
        kind = known[0].object_kind
        fact = replace(
            known[0],
            object=fact.object,
            object_aliases=(),
            object_kind=kind,
            object_article="",
            source=fact.source,
            license="",
            date="",
            place=fact.place,
        )
    return (relation, plain(fact.subject), plain(fact.object)), replace(fact, relation=relation)


def _drop(facts: MutableMapping[Key, KnownFact], key: Key, override: Override, report: ReadingReport) -> None:
    report.leave_out(f"an override says so: {override.reason}", facts.pop(key).place)
