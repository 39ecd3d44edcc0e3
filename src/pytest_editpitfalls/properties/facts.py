"""The facts that edits are drawn from: the best known of those that ship, or the user's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_editpitfalls.cases.case import Relation
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.knowledge import Knowledge, KnownFact, load_knowledge

from .drawn import FactToEdit

if TYPE_CHECKING:
    from .bench import EditorBench

MOST_RELATIONS = 12
FACTS_PER_RELATION = 5
OTHERS = 6
"""Objects that may be written in place of a fact's own: the best known ones of its relation."""

PARAPHRASES = 1


def facts_to_edit(
    facts: Sequence[Path] = (),
    relations: Path | None = None,
    *,
    most_relations: int = MOST_RELATIONS,
    per_relation: int = FACTS_PER_RELATION,
) -> tuple[FactToEdit, ...]:
    """Return facts to draw edits from, the best known first, relations in turn.

    Only relations in which a subject has one object are taken: otherwise an edit would replace nothing.

    Args:
        facts: tables of facts; none: those that ship.
        relations: a ``relations.toml``; None: the one that ships.

    Raises:
        UsageError: a file cannot be read, or there are fewer than two facts.
    """
    knowledge = load_knowledge(facts, relations)
    found: list[list[FactToEdit]] = []
    for relation in knowledge.relations.values():
        if relation.functional and len(found) < most_relations:
            of_relation = list(_of_relation(knowledge, relation.id, per_relation))
            found += [of_relation] if of_relation else []
    pool = tuple(fact for fact in chain.from_iterable(zip_longest(*found)) if fact is not None)
    if len(pool) < 2:
        raise UsageError(
            "there are fewer than two facts that an edit could rewrite",
            where=", ".join(map(str, facts)) or "the facts that ship",
            fix="give facts of relations that are functional in relations.toml, each with two objects or more",
        )
    return pool


def _of_relation(knowledge: Knowledge, relation: str, most: int) -> Iterator[FactToEdit]:
    best = sorted(knowledge.facts(relation), key=lambda fact: -fact.popularity)
    objects = [thing.in_text for thing in knowledge.objects(relation)]
    for fact in best[:most]:
        true = {name for each in knowledge.of(relation, fact.subject) for name in _names(each)}
        others = tuple(label for label in objects if label not in true)[:OTHERS]
        if others:
            yield _fact(knowledge, fact, others)


def _names(fact: KnownFact) -> tuple[str, ...]:
    return (fact.to.in_text, *fact.to.names)


def _fact(knowledge: Knowledge, fact: KnownFact, others: tuple[str, ...]) -> FactToEdit:
    known = knowledge.relations[fact.relation]
    words = known.wording(fact.subject_number)
    relation = Relation(
        id=known.id,
        prompt=words.prompt,
        paraphrases=words.paraphrases,
        label=known.label,
        query=words.query,
        joiner=known.joiner,
        sentence_case=True,
    )
    return FactToEdit(
        prompt=words.prompt,
        subject=relation.written(fact.of.in_text),
        object=fact.to.in_text,
        others=others,
        paraphrases=relation.questions(fact.of.in_text)[1 : 1 + PARAPHRASES],
        relation=known.id,
        joiner=known.joiner,
    )


def held_facts(bench: EditorBench, facts: Sequence[FactToEdit]) -> tuple[FactToEdit, ...]:
    """Return those facts that the base model holds: it prefers the true object to all others that may be written."""
    return tuple(fact for fact in facts if bench.present(fact) == fact.object)
