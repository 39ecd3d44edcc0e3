"""Lists of edits in which it is known what clashes, made from a body of knowledge and a seed."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pytest_editpitfalls.knowledge import Knowledge, KnownFact


@dataclass
class Planter:
    """Writes edits; every clash takes things that nothing else in the list is about.

    Attributes:
        expected: (kind, ids of the edits) of every conflict.
    """

    knowledge: Knowledge
    seed: int
    edits: list[dict[str, str]] = field(default_factory=list)
    expected: set[tuple[str, frozenset[str]]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        known = self.knowledge
        capital_of = {fact.object: fact.subject for fact in known.facts("P36")}
        countries = []
        for fact in known.facts("P36"):
            continents = {each.object for each in known.of("P30", fact.subject)}
            cities = [
                each.subject
                for each in known.to("P17", fact.subject)
                if each.subject not in capital_of
                and len(known.of("P17", each.subject)) == 1
                and {other.object for other in known.of("P30", each.subject)} <= continents
            ]
            if len(continents) == 1 and len(cities) >= 2 and len(known.of("P36", fact.subject)) == 1:
                countries.append((fact.subject, fact.object, cities[:2], continents.pop()))
        self.random.shuffle(countries)
        self.countries = iter(countries)
        self.continents = [thing.label for thing in known.objects("P30")]

    def add(self, subject: str, relation: str, target: str, true: str = "") -> str:
        name = f"e{len(self.edits)}"
        edit = {"id": name, "subject": subject, "relation": relation, "target_new": target}
        self.edits.append({**edit, **({"target_true": true} if true else {})})
        return name

    def expect(self, kind: str, *edits: str) -> None:
        self.expected.add((kind, frozenset(edits)))

    def other_continent(self, *avoid: str) -> str:
        return self.random.choice([each for each in self.continents if each not in avoid])

    # --- what clashes
    def two_targets(self) -> None:
        country, capital, cities, _ = next(self.countries)
        self.expect("two-targets", *(self.add(country, "capital", city, capital) for city in cities))

    def reversal(self) -> None:
        country, capital, cities, _ = next(self.countries)
        there = self.add(country, "P36", cities[0], capital)
        self.expect("reversal", there, self.add(country, "P36", capital, cities[0]))

    def two_subjects(self) -> None:
        (one, _, cities, _), (other, *_) = next(self.countries), next(self.countries)
        self.expect("two-subjects", self.add(one, "P36", cities[0]), self.add(other, "P36", cities[0]))

    def inverse(self) -> None:
        country, _, cities, _ = next(self.countries)
        unknown = f"Free {country}"  # a known country would keep its capital, and that clashes as well
        self.expect("inverse", self.add(country, "P36", cities[0]), self.add(cities[0], "P1376", unknown))

    def stays_a_capital(self) -> None:
        (one, *_), (_, taken, *_) = next(self.countries), next(self.countries)
        self.expect("standing-fact", self.add(one, "P36", taken))

    def conclusion_against_facts(self) -> None:
        _, _, cities, continent = next(self.countries)
        self.expect("standing-fact", self.add(cities[0], "P30", self.other_continent(continent)))

    def composition(self) -> None:
        country, _, cities, continent = next(self.countries)
        target = self.other_continent(continent)
        first = self.add(country, "continent", target, continent)
        self.expect("composition", first, self.add(cities[0], "P30", self.other_continent(continent, target)))

    def composition_through_an_edited_link(self) -> None:
        (_, _, cities, old), (other, _, _, new) = next(self.countries), next(self.countries)
        link = self.add(cities[0], "P17", other)
        self.expect("composition", link, self.add(cities[0], "P30", self.other_continent(old, new)))

    def cycle_of_edits(self) -> None:
        names = [f"{part} {next(self.countries)[0]}" for part in ("North", "Lower", "Inner")]
        ring = itertools.pairwise([*names, names[0]])
        self.expect("cycle", *(self.add(one, "P361", other) for one, other in ring))

    def cycle_with_facts(self) -> None:
        fact = next(fact for fact in self.parts if not self.knowledge.of("P361", fact.object))
        self.expect("cycle", self.add(fact.object, "P361", fact.subject))

    # --- what does not
    def consistent(self) -> None:
        country, capital, cities, continent = next(self.countries)
        self.add(country, "P36", cities[0], capital)
        self.add(cities[0], "P1376", country)
        target = self.other_continent(continent)
        self.add(country, "P30", target)
        self.add(cities[1], "P30", target)

    def harmless(self, count: int) -> None:
        """Add edits of relations that take part in no rule."""
        ruled = {name for rule in self.knowledge.rules for name in rule.relations().values()}
        known = self.knowledge
        free = [
            relation.id
            for relation in known.relations.values()
            if not (relation.id in ruled or relation.transitive or relation.symmetric or relation.inverse_functional)
            and len(known.objects(relation.id)) > 1
        ]
        facts = [fact for name in free for fact in known.facts(name)]
        self.random.shuffle(facts)
        seen: set[tuple[str, str]] = set()
        for fact in facts:
            if count == 0:
                return
            if (fact.relation, fact.subject) not in seen:
                seen.add((fact.relation, fact.subject))
                true = {each.object for each in known.of(fact.relation, fact.subject)}
                others = [each.label for each in known.objects(fact.relation) if each.label not in true]
                if others:
                    self.add(fact.subject, fact.relation, self.random.choice(others), fact.object)
                    count -= 1
        assert count == 0, f"{count} more facts of relations without rules are needed"

    @property
    def parts(self) -> Iterator[KnownFact]:
        facts = list(self.knowledge.facts("P361"))
        self.random.shuffle(facts)
        return iter(facts)

    def write(self, path: Path) -> Path:
        order = list(self.edits)
        path.write_text("".join(json.dumps(edit) + "\n" for edit in order), encoding="utf-8")
        return path


def planted(knowledge: Knowledge, seed: int, total: int = 1000) -> Planter:
    """Return 1,000 edits with 30 conflicts of all kinds among them."""
    planter = Planter(knowledge, seed)
    clashes = [
        *[planter.two_targets] * 4,
        *[planter.reversal] * 3,
        *[planter.two_subjects] * 3,
        *[planter.inverse] * 4,
        *[planter.stays_a_capital] * 4,
        *[planter.conclusion_against_facts] * 3,
        *[planter.composition] * 3,
        *[planter.composition_through_an_edited_link] * 2,
        *[planter.cycle_of_edits] * 2,
        *[planter.cycle_with_facts] * 2,
    ]
    assert len(clashes) == 30
    for plant in (*clashes, *[planter.consistent] * 5):
        plant()
    planter.harmless(total - len(planter.edits))
    return planter
