"""Inverse: an edit is known the other way round, and is denied where its prompt is denied."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from pytest_editpitfalls.cases.case import Case, Edit, Fact, fill
from pytest_editpitfalls.cases.labels import Prompt
from pytest_editpitfalls.cases.leaks import leaks
from pytest_editpitfalls.knowledge import Knowledge, KnownFact, Rule, Thing
from pytest_editpitfalls.metrics.controls import share_with_controls
from pytest_editpitfalls.metrics.metric import NOT_PUBLISHED, Metric
from pytest_editpitfalls.metrics.shared import log_ratio
from pytest_editpitfalls.program import Probe, Program

from . import _conflict as conflict
from ._construction import Candidate, Construction, Draw, Group, allowed, changed, edit, lot, not_plural, single
from ._one_edit import EDIT_SUCCESS, FACTS, REPLACED, WRITTEN, OneEditRow, edit_probes
from ._pitfall import FactWords, Pitfall, ask, program_of
from ._topics import SPREAD

BAKE = "Xu et al. 2023 (arXiv:2310.10322), BAKE: reverse question; mjy1111/BAKE"
NEGATION = "after arXiv:2510.00625, which asks negated prompts"

DENIALS = ("It is not true that {}", "It is false that {}", "It is wrong to say that {}")
"""What stands before a prompt and denies it, in English."""

WELL_KNOWN = 96
"""New objects are drawn from so many that are best known: of these the model holds what they answer."""

MOST_NEW_OBJECTS = 6
"""New objects that are tried for one fact."""


class InverseRow(OneEditRow):
    """An edit (s, r, o -> o*), what it says the other way round, and how it is denied.

    Attributes:
        reversed: (o*, inverse r, former s -> s).
        denials: sentences that deny what stands in their {}; the rewrite prompt is put there.
    """

    reversed: Edit
    denials: Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _is_the_inverse(self) -> InverseRow:
        (edit,) = self.edits
        conflict.must_equal("reversed.subject", self.reversed.subject, "edits.0.new_object", edit.new_object)
        conflict.must_equal("reversed.new_object", self.reversed.new_object, "edits.0.subject", edit.subject)
        conflict.must_differ("reversed.object", self.reversed.object, "reversed.new_object", self.reversed.new_object)
        return self

    def named_facts(self) -> Mapping[str, Fact | Edit]:
        """Return the edit and its inverse."""
        return {**super().named_facts(), "reversed": self.reversed}

    def base_facts(self) -> Iterator[Fact]:
        """Give what the edit replaces, and what was true of the new object."""
        yield from (*super().base_facts(), self.reversed.before)

    def held_facts(self) -> Mapping[str, Fact]:
        """Return what the edit replaces, and what was true of the new object: what nobody knew gives way by itself."""
        return {**super().held_facts(), "reversed_true": self.reversed.before}


class InverseConstruction(Construction):
    """Of each strict rule whose reversed relation has one object: facts that are the only one of their subject.

    The new object is one of which a single subject is known, and held: the reversed question was answered with it.
    """

    share = 0

    def groups(self, knowledge: Knowledge) -> Iterator[Group]:
        for rule in knowledge.rules:
            # of two answers to the reversed question none need give way; and prompts are denied in English
            strict = rule.shape == "inverse" and rule.strength == "strict"
            if strict and knowledge.relations[rule.second].functional and knowledge.relations[rule.first].joiner == " ":
                yield Group(rule.id, rule.first, rule.strength, rule)

    def candidates(self, knowledge: Knowledge, group: Group) -> Iterator[Candidate]:
        rule = group.rule
        assert rule is not None
        new = {thing.in_text for thing in not_plural(knowledge, rule.second, knowledge.objects(rule.first))}
        turned = [each for each in knowledge.facts(rule.second) if each.of.in_text in new and single(knowledge, each)]
        turned = sorted(turned, key=lambda each: (-each.popularity, each.key))[:WELL_KNOWN]
        for fact in knowledge.facts(rule.first):
            one = fact.subject_number != "plural"  # the reversed question is about another thing, in the same words
            if one and allowed(rule, fact) and single(knowledge, fact):
                by_lot = sorted(turned, key=lambda each: lot(fact, each))
                fitting = (each for each in by_lot if _former(knowledge, rule, each.of, fact) is not None)
                for back in islice(fitting, MOST_NEW_OBJECTS):
                    yield Candidate(group, {"edit1": fact, "reversed_true": back}, {})

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        (fact, back), rule = candidate.held.values(), candidate.group.rule
        assert rule is not None
        pool = [thing for thing in knowledge.objects(rule.first) if thing.in_text == back.of.in_text]
        new = draw(pool, fact)
        return {
            "edits": [changed(knowledge, fact, new)],
            "reversed": edit(knowledge, rule.second, new, back.to, fact.of),
            "denials": list(DENIALS),
        }


def _former(knowledge: Knowledge, rule: Rule, thing: Thing, fact: KnownFact) -> Thing | None:
    """The one subject that is known of a thing, the other way round; None: there are several, or they tell too much."""
    known = {each.of.label: each.of for each in knowledge.to(rule.first, thing.label)}
    known |= {each.to.label: each.to for each in knowledge.of(rule.second, thing.label)}
    if len(known) != 1:
        return None
    (former,) = known.values()
    told = any(leaks(thing.label, label) or leaks(label, thing.label) for label in (former.label, fact.subject))
    return None if told or former.label == fact.subject else former


class Inverse(Pitfall[InverseRow]):
    """The reversed question is asked for s and for what answered it before; a denied prompt for both objects."""

    name = "inverse"
    question = "Is the edit known the other way round, and denied where its prompt is denied?"
    topic = SPREAD
    row = InverseRow
    facts: ClassVar = MappingProxyType(
        {
            **FACTS,
            "reversed_new": FactWords("the edit the other way round", "reversed"),
            "reversed_true": FactWords("what answered the reversed question before", "reversed, before"),
            "denied_new": FactWords("what the edit writes, denied", "new, denied"),
            "denied_true": FactWords("what the edit replaces, denied", "old, denied"),
        }
    )
    written, replaced = WRITTEN, REPLACED
    metrics = (
        *EDIT_SUCCESS,
        *share_with_controls(
            "reversed",
            "reversed",
            "reversed_new",
            "reversed_true",
            what="the reversed prompts after which the edit's subject is likelier than the former one",
            question="How often does the reversed question lead back to the edit's subject?",
            source=BAKE,
            by_prompt=True,
        ),
        Metric(
            name="reversed_log_ratio",
            title="ln reversed",
            higher_is_better=True,
            low=None,
            high=math.inf,
            definition="ln(p1 / p0) of the edit's subject after the reversed prompts, median over these",
            source=NOT_PUBLISHED,
            compute=log_ratio("reversed_new", "0", "1"),
            question="By which factor does the edit make the reversed answer likelier? A logarithm: 0 not at all.",
        ),
        *share_with_controls(
            "denied",
            "denied",
            "denied_new",
            "denied_true",
            what="the denied prompts after which the new object is likelier than the old one",
            question="How often is the edit's object said where the prompt denies it?",
            source=NEGATION,
            by_prompt=True,
            higher_is_better=False,
        ),
        Metric(
            name="denied_log_ratio",
            title="ln denied",
            higher_is_better=False,
            low=None,
            high=math.inf,
            definition="ln(p1 / p0) of the new object after the denied prompts, median over these",
            source=NEGATION,
            compute=log_ratio("denied_new", "0", "1"),
            question="By which factor does the edit make its object likelier where it is denied? A logarithm.",
        ),
    )
    thresholds = ("reversed >= 0.5", "denied <= 0.5")
    columns = ("es", "ps", "reversed", "denied")
    order = 13
    constructions: ClassVar = MappingProxyType({"inverse": InverseConstruction()})

    def program(self, case: Case, row: InverseRow) -> Program:
        """Ask for everything before and after the edit."""
        (edit,) = row.edits
        probes = edit_probes(case)
        probes += ask(case, "reversed_new", row.reversed.after, "0", "1")
        probes += ask(case, "reversed_true", row.reversed.before, "0", "1")
        for name, fact in (("denied_new", edit.after), ("denied_true", edit.before)):
            probes += _denied(case, name, fact, row.denials)
        return program_of(case, row.edits, probes)


def _denied(case: Case, name: str, fact: Fact, denials: tuple[str, ...]) -> tuple[Probe, ...]:
    """Return what asks for a fact after its rewrite prompt where that is denied, before and after the edit."""
    relation = case.relation(fact.relation)
    within = relation.prompt if relation.prompt.startswith("{}") else relation.prompt[:1].lower() + relation.prompt[1:]
    prompts = tuple(fill(denial, fill(within, fact.subject)) for denial in denials)
    words = {"subject": fact.subject, "relation": relation.base, "joiner": relation.joiner}
    return tuple(Probe(name, state, prompts, fact.object, **words) for state in ("0", "1"))
