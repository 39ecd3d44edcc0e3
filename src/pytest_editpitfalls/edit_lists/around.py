"""The facts around an edit: what it ought to change as well, and what it ought to leave alone."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pytest_editpitfalls.cases.case import Edit, Fact, Relation
from pytest_editpitfalls.knowledge import KnownFact, KnownRelation, Thing
from pytest_editpitfalls.knowledge.facts import plain

from .following import conclusions
from .planned import PlannedEdit
from .wording import joiner_after, normalised
from .world import World

MOST = 10
"""Facts of each sort that are asked: the best known ones."""

OWN_PROMPTS = 10
"""Paraphrases of the edit that are asked, besides its rewrite prompt."""

AROUND_PROMPTS = 2
"""The same of every other fact: there are many of them."""

AS_WRITTEN = "as written"
"""Relation of prompts that a list gives with their subjects in place."""


@dataclass(slots=True)
class Around:
    """An edit in words, and the facts around it.

    Attributes:
        edit: the edit; its object is "" where nobody knows what it replaces.
        relations: the relations that all of them speak of, by id.
        siblings, others, ties, neighbours: what ought to stay.
        inverses, conclusions, expectations: what ought to change, with the object that was and the one that follows.
    """

    edit: Edit
    relations: dict[str, Relation]
    siblings: tuple[Fact, ...] = ()
    others: tuple[Fact, ...] = ()
    ties: tuple[Fact, ...] = ()
    neighbours: tuple[Fact, ...] = ()
    inverses: tuple[Edit, ...] = ()
    conclusions: tuple[Edit, ...] = ()
    expectations: tuple[Edit, ...] = ()

    @property
    def is_bare(self) -> bool:
        """Whether nothing is known around the edit."""
        return not (
            self.siblings
            or self.others
            or self.ties
            or self.neighbours
            or self.inverses
            or self.conclusions
            or self.expectations
        )


def around(world: World, edit: PlannedEdit) -> Around:
    """Find the facts around an edit. What another edit of the list changes is left out."""
    return _Search(world, edit).found()


@dataclass(slots=True)
class _Search:
    world: World
    planned: PlannedEdit
    relations: dict[str, Relation] = field(default_factory=dict)

    def found(self) -> Around:
        world, edit = self.world, self.planned
        known = world.relation(edit)
        target = world.names.object_in_text(edit.relation, edit.target_new).in_text
        if known is None:
            relation = self._own_relation("prompt", None, None)
            return Around(
                Edit(relation, edit.subject, edit.target_true, target),
                self.relations,
                neighbours=tuple(self._given_neighbours()),
            )
        facts = [fact for fact in world.facts_at(edit) if world.object_of(fact) != world.target(edit)]
        replaced = self._replaced(facts)
        subject = world.names.subject_in_text(edit.relation, edit.subject)
        number = next((fact.subject_number for fact in facts if fact.subject_number), "")
        relation = self._own_relation(known.id, known, number)
        true = edit.target_true or ("" if replaced is None else replaced.to.in_text)
        made = Around(Edit(relation, subject.in_text, true, target), self.relations)
        self._add_what_follows(made, known, subject, replaced)
        self._add_what_stays(made, known, facts, replaced)
        return made

    def _replaced(self, facts: list[KnownFact]) -> KnownFact | None:
        """Return the known fact that the edit replaces: the stated one, otherwise the best known one."""
        stated = self.world.replaced(self.planned)
        if stated:
            return next((fact for fact in facts if self.world.object_of(fact) == stated), None)
        return max(facts, key=lambda fact: fact.popularity, default=None)

    # --- prompts
    def _own_relation(self, name: str, known: KnownRelation | None, number: str | None) -> str:
        """Add the relation with the edit's own prompts, and return its id."""
        edit = self.planned
        wording = None if known is None else known.wording(number or "")
        prompts = [edit.prompt] if edit.prompt else []
        prompts += edit.paraphrases
        prompts += [] if wording is None else [wording.prompt, *wording.paraphrases]
        by_words: dict[str, str] = {}
        for prompt in prompts:
            by_words.setdefault(normalised(prompt), prompt)
        distinct = list(by_words.values())
        name = f"{name} ({AS_WRITTEN})" if edit.prompt and known is not None else name
        self.relations[name] = Relation(
            name,
            distinct[0],
            tuple(distinct[1 : OWN_PROMPTS + 1]),
            label=known.label if known is not None else edit.stated_relation,
            joiner=known.joiner if known is not None else joiner_after(distinct[0]),
            sentence_case=known is not None,
            variant_of="" if known is None or name == known.id else known.id,
        )
        return name

    def _relation(self, known: KnownRelation, number: str = "") -> str:
        wording = known.wording(number)
        name = known.id if wording is known else f"{known.id}-plural"
        if name not in self.relations:
            self.relations[name] = Relation(
                name,
                wording.prompt,
                wording.paraphrases[:AROUND_PROMPTS],
                known.label,
                wording.query,
                known.joiner,
                sentence_case=True,
                variant_of="" if name == known.id else known.id,
            )
        return name

    def _fact(self, fact: KnownFact) -> Fact:
        relation = self.world.knowledge.relations[fact.relation]
        return Fact(self._relation(relation, fact.subject_number), fact.of.in_text, fact.to.in_text)

    # --- what follows
    def _add_what_follows(self, made: Around, known: KnownRelation, subject: Thing, replaced: KnownFact | None) -> None:
        inverses: list[Edit] = []
        strict: list[Edit] = []
        usual: list[Edit] = []
        for inverse, is_strict in self._inverses(known, subject):
            (inverses if is_strict else usual).append(inverse)
        if replaced is not None:
            ties: dict[str, KnownFact] = {}
            found = [each for each in conclusions(self.world, self.planned, replaced) if each.new is not None]
            found.sort(key=lambda each: (-each.subject.popularity, self._draw(each.subject.label)))
            for each in found:
                new = each.new
                assert new is not None
                changes = strict if each.rule.strength == "strict" else usual
                if len(changes) == MOST or plain(new.label) == plain(each.old.label):
                    continue
                number = each.tie.subject_number if each.tie is not None else replaced.subject_number
                relation = self._relation(each.relation, number)
                changes.append(Edit(relation, each.subject.in_text, each.old.in_text, new.in_text))
                if each.tie is not None and self.world.stays(each.tie):
                    ties.setdefault(f"{each.tie.relation} {each.tie.subject}", each.tie)
            made.ties = tuple(map(self._fact, itertools.islice(ties.values(), MOST)))
        made.inverses, made.conclusions, made.expectations = tuple(inverses[:MOST]), tuple(strict), tuple(usual[:MOST])

    def _inverses(self, known: KnownRelation, subject: Thing) -> Iterator[tuple[Edit, bool]]:
        """Give what the edit says the other way round, and whether it has to be so."""
        world, target = self.world, self.world.target(self.planned)
        new = world.names.object_in_text(self.planned.relation, self.planned.target_new)
        for mirror in world.mirrors(known.id):
            if world.edits_of(mirror.relation.id, target):
                continue
            own = world.subject(self.planned)
            former = [fact.to for fact in world.facts_of(mirror.relation.id, target) if world.object_of(fact) != own]
            others = (fact.of for fact in world.knowledge.facts(known.id) if world.subject_of(fact) != own)
            old = max(former or others, key=lambda thing: thing.popularity, default=None)
            if old is not None:
                relation = self._relation(mirror.relation)
                yield Edit(relation, new.in_text, old.in_text, subject.in_text), mirror.severity == "conflict"

    # --- what stays
    def _add_what_stays(
        self, made: Around, known: KnownRelation, facts: list[KnownFact], replaced: KnownFact | None
    ) -> None:
        if not known.functional:
            siblings = [fact for fact in facts if fact is not replaced and self.world.stays(fact)]
            made.siblings = tuple(map(self._fact, self._best(siblings)))
        made.others = tuple(map(self._fact, self._best(self._others(known))))
        neighbours = [*self._given_neighbours(), *map(self._fact, self._neighbours(made, known, replaced))]
        made.neighbours = tuple(neighbours[:MOST])

    def _others(self, known: KnownRelation) -> Iterator[KnownFact]:
        """Give what else is true of the subject and does not depend on the edit: the best known fact of a relation."""
        world = self.world
        depends = {rule.second for rule in world.compositions.get(("tied", known.id), ())}
        depends |= {known.id, *(mirror.relation.id for mirror in world.mirrors(known.id))}
        subject = world.subject(self.planned)
        for relation in world.knowledge.relations.values():
            if relation.id not in depends:
                staying = (fact for fact in world.facts_of(relation.id, subject) if world.stays(fact))
                if (best := next(staying, None)) is not None:
                    yield best

    def _neighbours(self, made: Around, known: KnownRelation, replaced: KnownFact | None) -> list[KnownFact]:
        """Return facts of other subjects that have another object than the edit's: those with the former one first."""
        world = self.world
        subject, target = world.subject(self.planned), world.target(self.planned)
        kinds = set(world.names.kinds_of(subject))
        former = "" if replaced is None else world.object_of(replaced)
        concluded = {plain(each.subject) for each in (*made.conclusions, *made.expectations)}
        tied = {rule.tied for rule in world.knowledge.compositions(first=known.id, second=known.id)}
        found: dict[str, KnownFact] = {}
        for fact in world.neighbours(known.id):
            key = world.subject_of(fact)
            if (
                key in found
                or key == subject
                or plain(fact.of.in_text) in concluded
                or world.edits_of(known.id, key)
                or not world.stays(fact)
                or (kinds and (own := world.names.kinds_of(key)) and kinds.isdisjoint(own))
                or any(world.object_of(each) == target for each in world.facts_of(known.id, key))
                or any(world.object_of(each) == subject for name in tied if name for each in world.facts_of(name, key))
            ):
                continue
            found[key] = fact
            if len(found) == 10 * MOST:
                break
        close = (world.object_of(fact) == former for fact in found.values())
        ranked = sorted(
            zip(close, found.values(), strict=True),
            key=lambda pair: (not pair[0], -pair[1].popularity, self._draw(pair[1].subject)),
        )
        return [fact for _, fact in ranked[:MOST]]

    def _given_neighbours(self) -> Iterator[Fact]:
        """Give the neighbours that the list itself names: prompts, and what is true after them."""
        for prompt, answer in self.planned.neighbours:
            if answer and plain(answer) != plain(self.planned.target_new):
                self.relations.setdefault(AS_WRITTEN, Relation(AS_WRITTEN, "{}", (), label="a prompt of the list"))
                yield Fact(AS_WRITTEN, prompt, answer)

    def _best(self, facts: Iterable[KnownFact]) -> list[KnownFact]:
        return sorted(facts, key=lambda fact: (-fact.popularity, self._draw(f"{fact.relation} {fact.object}")))[:MOST]

    def _draw(self, label: str) -> str:
        """Return what orders equally well known things: by the edit's own content, the same in every list."""
        edit = self.planned
        text = "\n".join((edit.subject, edit.relation or edit.prompt, edit.target_new, label))
        return hashlib.sha256(text.encode()).hexdigest()
