"""All facts of a build or a check, found by subject, by object and by relation."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import absolute, is_there
from pytest_editpitfalls.shipped import facts_directory

from .facts import Key, KnownFact, Thing, plain
from .overrides import OVERRIDES_FILE, Override, apply_overrides, read_overrides
from .readers import read_facts
from .reading import Progress, Reading, ReadingReport
from .relations import Relations, read_relations
from .rules import Rule, read_rules
from .vetting import Homonym, circles, disagreements, homonyms, source_of

RELATIONS_FILE, RULES_FILE = "relations.toml", "rules.toml"

DOMINANCE = 20.0
"""A name of several things counts as that of the best known where this is so many times better known than the next."""

MAX_FACTS = 200_000
"""Of one relation: all people's nationalities would fill the memory, and a build asks for the best known."""


class Knowledge:
    """Facts with their relations and rules.

    Labels are compared as `plain` gives them, and an alias stands for what it names. Of two facts that say the same,
    the better known is kept, and the aliases of both.

    Args:
        facts: what is true.
        relations: of every fact; a fact of another relation is left out and counted.
        rules: what follows from what.
        report: how the reading went; what is left out here is counted in it.
        overrides: corrections of the facts.
        agreed: whether facts of functional relations are left out where two sources disagree and no override decides.

    Attributes:
        circles: of transitive relations; their facts are left out.
    """

    def __init__(
        self,
        facts: Iterable[KnownFact],
        relations: Relations,
        rules: Sequence[Rule] = (),
        report: ReadingReport | None = None,
        overrides: Sequence[Override] = (),
        agreed: bool = True,
    ) -> None:
        self.relations = relations
        self.rules = tuple(rules)
        self.report = ReadingReport() if report is None else report
        self._of: dict[str, dict[str, list[KnownFact]]] = defaultdict(dict)
        self._to: dict[str, dict[str, list[KnownFact]]] = defaultdict(dict)
        seen, sources = self._distinct(facts)
        decided = apply_overrides(seen, overrides, relations, self.report) if overrides else set()
        if agreed:
            self._leave_out(seen, disagreements(seen, sources, relations, decided))
        self.circles = tuple(circles(seen, relations))
        for circle in self.circles:
            reason = f"it lies on a circle of '{relations[circle.relation].label}': {circle}"
            self._leave_out(seen, dict.fromkeys(circle.facts, reason))
        self.report.read = len(seen)
        for (relation, subject, object_), fact in seen.items():
            self._of[relation].setdefault(subject, []).append(fact)
            self._to[relation].setdefault(object_, []).append(fact)
        for table in self._of.values():
            for known in table.values():
                known.sort(key=lambda fact: -fact.popularity)
        self._objects: dict[str, tuple[Thing, ...]] = {}
        self._subjects: dict[str, tuple[Thing, ...]] = {}
        self._about: dict[tuple[bool, str], list[KnownFact]] | None = None
        self._called: dict[str, dict[str, list[int]]] = {}
        self._homonyms: dict[str, Homonym] | None = None
        self._subject_names = _Aliases((key[0], key[1], fact.subject_aliases) for key, fact in seen.items())
        self._object_names = _Aliases((key[0], key[2], fact.object_aliases) for key, fact in seen.items())

    def _distinct(self, facts: Iterable[KnownFact]) -> tuple[dict[Key, KnownFact], dict[Key, frozenset[str]]]:
        """Facts of known relations, each once, and the sources of those that several state."""
        seen: dict[Key, KnownFact] = {}
        sources: dict[Key, frozenset[str]] = {}
        many: Counter[str] = Counter()
        for fact in facts:
            if fact.relation not in self.relations:
                named = self.relations.named(fact.relation)
                if named is None:
                    reason = f"relation '{fact.relation}' has no prompts in {self.relations.source.name}"
                    self.report.leave_out(reason, fact.place)
                    continue
                fact = replace(fact, relation=named.id)
            key = fact.key
            if key in seen:
                self.report.leave_out("the same fact stands there twice", fact.place)
                if self.relations[fact.relation].functional:
                    sources[key] = sources.get(key, frozenset((source_of(seen[key]),))) | {source_of(fact)}
                fact = _merged(seen[key], fact)
            else:
                many[fact.relation] += 1
            seen[key] = fact
            if many[fact.relation] >= 2 * MAX_FACTS:
                self._keep_best_known(seen, fact.relation)
                many[fact.relation] = MAX_FACTS
        for relation, count in many.items():
            if count > MAX_FACTS:
                self._keep_best_known(seen, relation)
        return seen, sources

    def _keep_best_known(self, facts: dict[Key, KnownFact], relation: str) -> None:
        """Leave out facts of a relation beyond `MAX_FACTS`; of equally known ones the first are kept."""
        keys = sorted((key for key in facts if key[0] == relation), key=lambda key: -facts[key].popularity)
        reason = f"'{relation}' has more than {MAX_FACTS:,} facts, and others are better known"
        self._leave_out(facts, dict.fromkeys(keys[MAX_FACTS:], reason))

    def _leave_out(self, facts: dict[Key, KnownFact], reasons: Mapping[Key, str]) -> None:
        for key, reason in reasons.items():
            self.report.leave_out(reason, facts.pop(key).place)

    def homonyms(self, kind: str | None = None, dominance: float = float("inf")) -> dict[str, Homonym]:
        """Return the labels that stand for two things, as `vetting.homonyms`.

        Args:
            kind: only labels of such a thing; None: all.
            dominance: a label counts as that of its best known thing where this is so many times better known than the
                next ("Paris" by population: 85). Infinite: none does.
        """
        if self._homonyms is None:
            self._homonyms = homonyms(self, self.relations)
        return {
            label: homonym
            for label, homonym in self._homonyms.items()
            if (kind is None or kind in homonym.kinds) and not dominance <= homonym.dominance < float("inf")
        }

    def __len__(self) -> int:
        return self.report.read

    def __iter__(self) -> Iterator[KnownFact]:
        for table in self._of.values():
            yield from itertools.chain.from_iterable(table.values())

    def facts(self, relation: str) -> Iterator[KnownFact]:
        """Give the facts of a relation, subject by subject in file order."""
        return itertools.chain.from_iterable(self._of.get(relation, {}).values())

    def of(self, relation: str, subject: str) -> Sequence[KnownFact]:
        """Return what is true of a subject, by its label or an alias; the best known fact first."""
        table = self._of.get(relation, {})
        return table.get(plain(subject)) or table.get(self._subject_names.main(relation, subject)) or ()

    def to(self, relation: str, object_: str) -> Sequence[KnownFact]:
        """Return the facts with this object, by its label or an alias."""
        table = self._to.get(relation, {})
        return table.get(plain(object_)) or table.get(self._object_names.main(relation, object_)) or ()

    def about(self, thing: Thing, *, as_object: bool = False) -> Sequence[KnownFact]:
        """Return the facts of all relations whose subject a thing is; with ``as_object``, whose object it is.

        The thing goes by its label, and is of a kind that both sides say: "lira" is no city, "Polish" no shine.
        """
        if self._about is None:
            self._about = defaultdict(list)
            for fact in self:
                self._about[False, plain(fact.subject)].append(fact)
                self._about[True, plain(fact.object)].append(fact)
        found = self._about.get((as_object, plain(thing.label)), ())
        return [
            fact
            for fact in found
            if thing.kind and thing.kind == (fact.object_kind if as_object else fact.subject_kind)
        ]

    def is_true(self, relation: str, subject: str, object_: str) -> bool:
        """Whether (subject, relation, object) is a known fact, by any of their names."""
        wanted = plain(object_)
        return any(
            wanted == plain(name) for fact in self.of(relation, subject) for name in (fact.object, *fact.object_aliases)
        )

    def objects(self, relation: str) -> tuple[Thing, ...]:
        """Return the distinct objects of a relation, the ones of the best known facts first."""
        if relation not in self._objects:
            best = (max(facts, key=lambda fact: fact.popularity).to for facts in self._to.get(relation, {}).values())
            self._objects[relation] = tuple(sorted(best, key=lambda thing: (-thing.popularity, thing.label)))
        return self._objects[relation]

    def called(self, relation: str, names: Iterable[str]) -> tuple[str, ...]:
        """Return the objects of a relation that go by one of these names, as they stand in a sentence.

        What is true of a subject competes under none of its names when the model is asked (`HeldQuestion.not_rivals`).
        """
        objects = self.objects(relation)
        if relation not in self._called:
            table = self._called[relation] = defaultdict(list)
            for place, thing in enumerate(objects):
                for name in map(plain, thing.names):
                    table[name].append(place)
        places = {place for name in names for place in self._called[relation].get(plain(name), ())}
        return tuple(dict.fromkeys(objects[place].in_text for place in sorted(places)))

    def subjects(self, relation: str) -> tuple[Thing, ...]:
        """Return the distinct subjects of a relation, the ones of the best known facts first."""
        if relation not in self._subjects:
            best = (facts[0].of for facts in self._of.get(relation, {}).values())
            self._subjects[relation] = tuple(sorted(best, key=lambda thing: (-thing.popularity, thing.label)))
        return self._subjects[relation]

    def inverses(self, relation: str) -> Iterator[tuple[Rule, str]]:
        """Give each inverse rule that a relation takes part in, with the relation on its other side."""
        for rule in self.rules:
            if rule.shape == "inverse" and relation in (rule.first, rule.second):
                yield rule, rule.second if relation == rule.first else rule.first

    def compositions(
        self, *, first: str | None = None, second: str | None = None, tied: str | None = None
    ) -> Iterator[Rule]:
        """Give the compositions with these relations; None stands for any."""
        for rule in self.rules:
            if (
                rule.shape == "composition"
                and first in (None, rule.first)
                and second in (None, rule.second)
                and tied in (None, rule.tied)
            ):
                yield rule


class _Aliases:
    """Which label an alias stands for, in each relation; an alias of two labels stands for none."""

    def __init__(self, names: Iterable[tuple[str, str, tuple[str, ...]]]) -> None:
        self._main: dict[str, dict[str, str]] = defaultdict(dict)
        for relation, label, aliases in names:
            of_relation = self._main[relation]
            for alias in map(plain, aliases):
                if alias != label and of_relation.setdefault(alias, label) != label:
                    of_relation[alias] = ""

    def main(self, relation: str, name: str) -> str:
        return self._main.get(relation, {}).get(plain(name), "")


def load_knowledge(
    facts: Sequence[Path] = (),
    relations: Path | None = None,
    rules: Path | None = None,
    progress: Progress | None = None,
    overrides: Path | None = None,
    agreed: bool = True,
    language: str = "en",
) -> Knowledge:
    """Read facts, relations and rules; where a kind of file is not given, those that ship are read.

    Args:
        facts: tables and dumps.
        relations: a `relations.toml`.
        rules: a `rules.toml`.
        progress: told how far each file is read.
        overrides: corrections of the facts; not given: each `overrides.csv` beside a table.
        agreed: as of `Knowledge`.
        language: of the labels that are read of a dump.

    Raises:
        UsageError: a file cannot be read or is wrong, or no fact is left.
    """
    shipped = facts_directory()
    known = read_relations(relations or shipped / RELATIONS_FILE)
    ruled = read_rules(rules or shipped / RULES_FILE, known) if rules or not relations else ()
    reading = Reading(known, ReadingReport(), progress, language)
    paths = _once(tuple(facts) or shipped_tables(), reading.report)
    corrections = [read_overrides(path) for path in ([overrides] if overrides else _beside(paths))]
    knowledge = Knowledge(
        itertools.chain.from_iterable(read_facts(path, reading) for path in paths),
        known,
        ruled,
        reading.report,
        tuple(itertools.chain.from_iterable(corrections)),
        agreed,
    )
    if not len(knowledge):
        raise UsageError(
            "there is not one fact of a known relation",
            where=", ".join(map(str, paths)),
            fix="; ".join(reading.report.lines()) or "add facts",
        )
    return knowledge


def shipped_tables() -> tuple[Path, ...]:
    """Return the tables of facts that ship."""
    directory = facts_directory()
    found = (path for path in directory.glob("*.csv*") if path.name not in (OVERRIDES_FILE, "disagreements.csv"))
    return tuple(sorted(found))


def _once(paths: Sequence[Path], report: ReadingReport) -> list[Path]:
    """The paths without those that lead to a file that stands there already."""
    files: dict[Path, Path] = {}
    for path in paths:
        if (first := files.setdefault(absolute(path), path)) is not path:
            report.notes.append(f"{path} is the same file as {first}, and read once")
    return list(files.values())


def _beside(tables: Sequence[Path]) -> list[Path]:
    found = dict.fromkeys(path.parent / OVERRIDES_FILE for path in tables)
    return [path for path in found if is_there(path)]


def _merged(one: KnownFact, other: KnownFact) -> KnownFact:
    first, second = (one, other) if one.popularity >= other.popularity else (other, one)
    return replace(
        first,
        subject_aliases=tuple(dict.fromkeys((*first.subject_aliases, *second.subject_aliases))),
        object_aliases=tuple(dict.fromkeys((*first.object_aliases, *second.object_aliases))),
    )
