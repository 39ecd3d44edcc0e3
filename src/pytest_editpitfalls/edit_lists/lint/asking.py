"""What a model holds of the facts that edits undo: of the replaced ones, and of those that depend on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pytest_editpitfalls.cases.case import Relation
from pytest_editpitfalls.edit_lists.following import conclusions, undone_inverses
from pytest_editpitfalls.edit_lists.planned import PlannedEdit
from pytest_editpitfalls.edit_lists.world import World, said
from pytest_editpitfalls.knowledge import KnownFact, KnownRelation, Thing
from pytest_editpitfalls.program import HeldAnswer, HeldQuestion

from .finding import Finding

MOST = 10
"""Dependent facts of an edit that a model is asked for: the best known ones."""

HELD = "held"
"""Kind of these findings."""

Ask = Callable[[Sequence[HeldQuestion]], Sequence[HeldAnswer]]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A fact that a model is asked for."""

    words: str
    question: HeldQuestion


@dataclass(frozen=True, slots=True)
class _AskedEdit:
    edit: PlannedEdit
    replaced: _Asked
    dependents: tuple[_Asked, ...]
    count: int


def held_findings(world: World, model: str, ask: Ask) -> Iterator[Finding]:
    """Give for each edit that undoes a known fact what a model holds of it, and of the facts that depend on it.

    Args:
        world: the list and the facts.
        model: what the model is called.
        ask: puts questions to the model, one answer each.
    """
    asked = list(_asked(world))
    questions = [each.question for edit in asked for each in (edit.replaced, *edit.dependents)]
    answers = iter(ask(questions))
    for edit in asked:
        holds = next(answers).holds
        held = [each.words for each in edit.dependents if next(answers).holds]
        verb = "does not hold" if holds is False else "holds" if holds else "cannot write"
        text = f"{model} {verb} {edit.replaced.words}"
        if edit.dependents:
            best = "" if edit.count == len(edit.dependents) else f"{len(edit.dependents)} best known of the "
            shown = f": {'; '.join(held[:3])}{'; ...' if len(held) > 3 else ''}" if held else ""
            depend = "fact that depends" if edit.count == 1 else "facts that depend"
            text += f"; it holds {len(held)} of the {best}{edit.count:,} {depend} on it{shown}"
        yield Finding("note", (edit.edit,), text, tuple(held), count=len(held))


def _asked(world: World) -> Iterator[_AskedEdit]:
    objects: dict[str, tuple[str, ...]] = {}
    for edit, *_ in world.known:
        for fact in world.replaced_facts(edit):
            relation = world.knowledge.relations[fact.relation]
            found = sorted(_dependents(world, edit, fact), key=lambda each: -each[0].popularity)
            yield _AskedEdit(
                edit,
                _question(world, objects, fact.of, relation, fact.to),
                tuple(_question(world, objects, *each) for each in found[:MOST]),
                len(found),
            )


def _dependents(world: World, edit: PlannedEdit, fact: KnownFact) -> Iterator[tuple[Thing, KnownRelation, Thing]]:
    for mirror in undone_inverses(world, fact):
        yield fact.to, mirror.relation, fact.of
    for each in conclusions(world, edit, fact):
        yield each.subject, each.relation, each.old


def _question(
    world: World, objects: dict[str, tuple[str, ...]], subject: Thing, known: KnownRelation, object_: Thing
) -> _Asked:
    if known.id not in objects:
        things = world.knowledge.objects(known.id) or [
            thing for mirror in world.mirrors(known.id) for thing in world.knowledge.subjects(mirror.relation.id)
        ]
        objects[known.id] = tuple(thing.in_text for thing in things)
    relation = Relation(known.id, known.prompt, (), sentence_case=True)
    true = world.facts_of(known.id, world.names.subject(known.id, subject.label))
    words = said(subject.label, known.label, object_.label)
    question = HeldQuestion(
        name=words,
        prompts=relation.questions(subject.in_text),
        object=object_.in_text,
        candidates=objects[known.id],
        scores=("mean", "sum"),
        joiner=known.joiner,
        not_rivals=tuple(
            dict.fromkeys(
                (
                    *(fact.to.in_text for fact in true),
                    *world.knowledge.called(known.id, (name for fact in true for name in fact.to.names)),
                )
            )
        ),
    )
    return _Asked(words, question)
