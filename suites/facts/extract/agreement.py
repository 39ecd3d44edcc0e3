"""Where several sources speak: what they agree on ships, the rest is written down; overrides decide before all that."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_editpitfalls.knowledge.facts import plain

from .model import Fact

FUNCTIONAL = frozenset(
    [
        "P36",
        "P36-state",
        "P38",
        "P246",
        "P1086",
        "P78",
        "P1549",
        "P1195",
        "P30",
        "subregion",
        "P571",
        "P140",
        "P610",
        "element-series",
        "element-period",
        "element-block",
        "P37R",
        "P282",
        "P931",
    ]
)
"""One object per subject. Of P17, P30 and P131-state the homonyms stay, so that those who build can see them."""

COMPARED = frozenset(["P36", "P38", "P37", "P47", "P30", "P78", "P1549"])
"""What several sources say of countries."""

INVERSES = {
    "P36": "P1376",
    "P36-state": "P1376-state",
    "P246": "P246R",
    "P78": "P78R",
    "P1549": "P1549R",
    "P1195": "P1195R",
    "P38": "P38R",
}
SYMMETRIC = frozenset({"P47", "P5974"})
OVERRIDE_COLUMNS = ("subject", "relation", "object", "action", "reason", "source")


@dataclass(frozen=True, slots=True)
class Override:
    """A decision by hand: use an object, or drop it ("*": whatever it is)."""

    subject: str
    relation: str
    object: str
    action: str
    reason: str
    source: str


@dataclass
class Report:
    """What was left out, and why.

    Attributes:
        disagreements: (subject, relation, what each source says, decision).
        dropped: counts by reason.
        unused: overrides that met no fact.
    """

    disagreements: list[tuple[str, str, str, str]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    unused: list[Override] = field(default_factory=list)


def read_overrides(path: Path) -> list[Override]:
    """Read overrides.csv.

    Raises:
        ValueError: a row is incomplete, or its action is neither "use" nor "drop".
    """
    with open(path, encoding="utf-8", newline="") as file:
        found = [Override(**row) for row in csv.DictReader(file)]
    for number, override in enumerate(found, 2):
        values = (override.subject, override.relation, override.object, override.reason, override.source)
        if not all(values) or override.action not in ("use", "drop"):
            raise ValueError(f"{path.name} row {number}: every column is needed, and 'use' or 'drop' as action")
    return found


def agreed(facts: Iterable[Fact], overrides: Sequence[Override]) -> tuple[list[Fact], Report]:
    """Return the facts that ship: overridden, compared, each once, with their inverses."""
    report = Report()
    by_subject: dict[tuple[str, str, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        if plain(fact.subject) == plain(fact.object):
            report.dropped["subject and object have one name"] += 1
        else:
            by_subject[plain(fact.subject), fact.relation, fact.subject_kind].append(fact)
    decided, kept = _override(by_subject, overrides, report)
    for key, group in by_subject.items():
        compared = key[1] in COMPARED and key[2] == "country" and key not in decided
        kept += _compare(group, report) if compared else group
    kept = _both_ways(_one_object(_once(kept), report))
    return _once([*kept, *_inverses(kept)]), report


def _override(
    by_subject: dict[tuple[str, str, str], list[Fact]], overrides: Sequence[Override], report: Report
) -> tuple[set[tuple[str, str, str]], list[Fact]]:
    """Apply the decisions; return what is settled by "use", and the single facts so settled.

    A country goes before a city of its name.
    """
    decided: set[tuple[str, str, str]] = set()
    used: list[Fact] = []
    for override in overrides:
        keys = [key for key in by_subject if key[:2] == (plain(override.subject), override.relation)]
        key = next((key for key in keys if key[2] == "country"), keys[0] if keys else ("", "", ""))
        group = by_subject.get(key, [])
        same = [fact for fact in group if override.object == "*" or _is(fact, override.object)]
        if override.action == "drop":
            if not same:
                report.unused.append(override)
            report.dropped["overrides"] += len(same)
            if group:
                by_subject[key] = [fact for fact in group if fact not in same]
        elif not group or (override.relation not in FUNCTIONAL and not same):
            report.unused.append(override)
        elif override.relation not in FUNCTIONAL:
            used.append(replace(same[0], source="overrides"))
            by_subject[key] = [fact for fact in group if fact not in same]
        else:
            like = same[0] if same else group[0]
            aliases = like.object_aliases if same else ()
            aliases = tuple(alias for alias in (like.object, *aliases) if same and alias != override.object)
            by_subject[key] = [replace(like, object=override.object, object_aliases=aliases, source="overrides")]
            decided.add(key)
    for key in [key for key, group in by_subject.items() if not group]:
        del by_subject[key]
    return decided, used


def _is(fact: Fact, name: str) -> bool:
    return plain(name) in {plain(own) for own in (fact.object, *fact.object_aliases)}


def _compare(group: list[Fact], report: Report) -> list[Fact]:
    """Keep what all sources that speak of a subject say, under the label that the first one uses."""
    sources = list(dict.fromkeys(fact.source for fact in group))
    if len(sources) == 1:
        return group
    first = [fact for fact in group if fact.source == sources[0]]
    others = [[fact for fact in group if fact.source == source] for source in sources[1:]]
    kept = [fact for fact in first if all(any(_same(fact, other) for other in said) for said in others)]
    left = [fact for fact in group if not any(_same(fact, one) for one in kept)]
    if left:
        said = "; ".join(f"{fact.source}: {fact.object}" for fact in left)
        report.disagreements.append((group[0].subject, group[0].relation, said, "left out"))
        report.dropped["sources disagree"] += len({plain(fact.object) for fact in left})
        if group[0].relation not in SYMMETRIC:
            # What only some sources name may be true, and must not be taken for a false target: the subject goes whole.
            report.dropped["others of a subject on which sources disagree"] += len(kept)
            return []
    return [replace(fact, source="+".join(sources)) for fact in kept]


def _same(one: Fact, other: Fact) -> bool:
    """Whether two facts have one object, by any of its names."""
    return _is(one, other.object) or _is(other, one.object)


def _once(facts: Iterable[Fact]) -> list[Fact]:
    """Keep the best known of the facts that read the same."""
    found: dict[tuple[str, str, str], Fact] = {}
    for fact in facts:
        key = (plain(fact.subject), fact.relation, plain(fact.object))
        if key not in found or fact.popularity > found[key].popularity:
            found[key] = fact
    return list(found.values())


def _one_object(facts: list[Fact], report: Report) -> list[Fact]:
    """Leave out subjects with two objects where a relation has one; homonymous cities stay, to be seen."""
    objects: dict[tuple[str, str], set[str]] = defaultdict(set)
    for fact in facts:
        objects[plain(fact.subject), fact.relation].add(plain(fact.object))
    kept = []
    for fact in facts:
        several = len(objects[plain(fact.subject), fact.relation]) > 1
        if several and fact.relation in FUNCTIONAL and fact.subject_kind != "city":
            report.dropped["several objects of a relation that has one"] += 1
        else:
            kept.append(fact)
    return kept


def _both_ways(facts: list[Fact]) -> list[Fact]:
    """Complete what holds both ways."""
    known = {(plain(fact.subject), fact.relation, plain(fact.object)) for fact in facts}
    missing = [
        fact.turned(fact.relation)
        for fact in facts
        if fact.relation in SYMMETRIC and (plain(fact.object), fact.relation, plain(fact.subject)) not in known
    ]
    return [*facts, *missing]


def _inverses(facts: Iterable[Fact]) -> list[Fact]:
    """Turn the facts of relations that have an inverse, where the object has one subject."""
    subjects: dict[tuple[str, str], set[str]] = defaultdict(set)
    for fact in facts:
        if fact.relation in INVERSES:
            for name in (fact.object, *fact.object_aliases):
                subjects[fact.relation, plain(name)].add(plain(fact.subject))
    return [
        fact.turned(INVERSES[fact.relation])
        for fact in facts
        if fact.relation in INVERSES and len(subjects[fact.relation, plain(fact.object)]) == 1
    ]
