"""Deduction: is what an edit replaced still deducible from other facts, and do these facts survive the edit?

After KnowGIC, the benchmark of ThinkEval (Baser et al., arXiv:2506.01386; github.com/manitbaser/KnowGIC).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from pytest_editpitfalls.cases.case import Case, Edit, Fact
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.knowledge import Knowledge, KnownFact
from pytest_editpitfalls.metrics.controls import with_control
from pytest_editpitfalls.metrics.metric import Compute, FactProbabilities, Metric
from pytest_editpitfalls.program import Program

from ._construction import (
    Candidate,
    Construction,
    Draw,
    Group,
    allowed,
    changed,
    conclusion,
    ends,
    fact_line,
    is_one_of,
    single,
    tied_to,
)
from ._one_edit import EDIT_SUCCESS, FACTS, REPLACED, WRITTEN, OneEditRow, edit_probes
from ._pitfall import FactWords, Pitfall, ask, program_of
from ._topics import SPREAD

KNOWGIC = "Baser et al. 2025 (arXiv:2506.01386), ThinkEval; formulas as in the README of KnowGIC"

MOST_CHAINS, LONGEST = 20, 8

Chain = Annotated[tuple[Fact, ...], Field(min_length=2, max_length=LONGEST)]


class DeductionRow(OneEditRow):
    """One edit (s, r, o -> o*), and chains of facts that lead from s to o, none of which the edit speaks of.

    Attributes:
        edits: the edit.
        chains: each begins with s and ends with o; every further fact is about the object of the one before.
    """

    chains: Annotated[tuple[Chain, ...], Field(min_length=1, max_length=MOST_CHAINS)]

    @model_validator(mode="after")
    def _lead_to_the_object(self) -> DeductionRow:
        (change,) = self.edits
        for place, chain in enumerate(self.chains):
            before = change.subject
            for step, fact in enumerate(chain):
                field = f"chains.{place}.{step}.subject"
                if fact.subject != before:
                    raise RowError(
                        field, f"it is '{fact.subject}', but the chain is at '{before}'", f"write '{before}'"
                    )
                if (fact.relation, fact.subject) == (change.relation, change.subject):
                    raise RowError(field, "the chain passes over what the edit writes", "leave the chain out")
                before = fact.object
            if before != change.object:
                field = f"chains.{place}.{len(chain) - 1}.object"
                raise RowError(
                    field, f"the chain ends at '{before}', not at what the edit replaces", "correct the chain"
                )
        return self

    def links(self) -> Iterator[tuple[int, int, Fact]]:
        """Give each fact of each chain with the places of both."""
        for place, chain in enumerate(self.chains):
            for step, fact in enumerate(chain):
                yield place, step, fact

    def named_facts(self) -> Mapping[str, Fact | Edit]:
        """Return the edit and all facts of the chains."""
        return {**super().named_facts(), **{f"chains.{place}.{step}": fact for place, step, fact in self.links()}}

    def base_facts(self) -> Iterator[Fact]:
        """Give what the edit replaces, and the chains."""
        yield from (*super().base_facts(), *(fact for _, _, fact in self.links()))

    def held_facts(self) -> Mapping[str, Fact]:
        """Return what the edit replaces, and every fact of the chains, each once."""
        named = {_name(place, step): fact for place, step, fact in self.links()}
        first = {fact: name for name, fact in reversed(named.items())}
        return {**super().held_facts(), **{name: fact for name, fact in named.items() if first[fact] == name}}


def _name(chain: int, step: int) -> str:
    """What a fact of a chain is called: its first one is about the edit's subject, the others are not."""
    return f"{'link' if step else 'first'}:{chain}:{step}"


def _chains(p: FactProbabilities) -> list[list[str]]:
    """The names of the facts of each chain, in order."""
    found: dict[int, list[tuple[int, str]]] = {}
    for name in {fact for fact, _ in p if fact.partition(":")[0] in ("first", "link")}:
        _, chain, step = name.split(":")
        found.setdefault(int(chain), []).append((int(step), name))
    return [[name for _, name in sorted(steps)] for _, steps in sorted(found.items())]


def _recovery(p: FactProbabilities) -> float | None:
    """The mean over chains of (product of p1) / (product of p0), a chain of n facts with the weight 1 / sqrt(n)."""
    total = weights = 0.0
    for names in _chains(p):
        before, after = ([p.get((name, state)) for name in names] for state in "01")
        if None in before or None in after or 0.0 in before:
            return None
        ratio = math.prod(a / b for a, b in zip(after, before, strict=True) if a is not None and b is not None)
        total += ratio / math.sqrt(len(names))
        weights += 1 / math.sqrt(len(names))
    return total / weights if weights else None


def _preservation(p: FactProbabilities) -> float | None:
    """The mean of p1 / p0 over the facts of the chains that are not about the edit's subject."""
    names = [name for chain in _chains(p) for name in chain if name.startswith("link:")]
    pairs = [(p.get((name, "0")), p.get((name, "1"))) for name in names]
    if not pairs or any(not before or after is None for before, after in pairs):
        return None
    return math.fsum(after / before for before, after in pairs if before and after is not None) / len(pairs)


def _ends_kept(state: str) -> Compute:
    """The share of chains whose last fact has its true object likelier than the edit's."""

    def compute(p: FactProbabilities) -> float | None:
        ends = {names[-1].split(":")[1]: names[-1] for names in _chains(p)}
        pairs = [(p.get((name, state)), p.get((f"end_new:{chain}", state))) for chain, name in ends.items()]
        if not pairs or any(value is None for pair in pairs for value in pair):
            return None
        return sum(true > new for true, new in pairs if true is not None and new is not None) / len(pairs)

    return compute


class DeductionConstruction(Construction):
    """Of each composition: (s, second, o), which (s, tied, m) and (m, first, o) give, or three facts by two of them.

    A conclusion that no table states counts as true where the rule is strict.
    """

    share = 0

    def groups(self, knowledge: Knowledge) -> Iterator[Group]:
        for rule in knowledge.compositions():
            if knowledge.objects(rule.second):
                yield Group(rule.id, rule.second, rule.strength, rule)

    def candidates(self, knowledge: Knowledge, group: Group) -> Iterator[Candidate]:
        rule = group.rule
        assert rule is not None
        for end in ends(knowledge, rule):
            for tied in tied_to(knowledge, rule, end):
                fact = conclusion(knowledge, rule.second, tied, end, certain=rule.strength == "strict")
                if fact is None or fact.subject == end.object:
                    continue
                yield _candidate(group, fact, [tied, end])
                for between in self._longer(knowledge, group, end):
                    yield _candidate(group, fact, [tied, *between])

    def _longer(self, knowledge: Knowledge, group: Group, end: KnownFact) -> Iterator[list[KnownFact]]:
        """Give two facts that say in two steps what the end of a chain says in one."""
        for rule in knowledge.compositions(second=end.relation):
            if group.strength == "strict" and rule.strength != "strict":
                continue
            assert rule.tied is not None
            for tied in knowledge.of(rule.tied, end.subject):
                for last in knowledge.of(rule.first, tied.object):
                    if (
                        is_one_of(last.to, [end])
                        and last.to.in_text == end.to.in_text
                        and tied.to.in_text == last.of.in_text
                        and tied.of.in_text == end.of.in_text
                        and all(single(knowledge, each) for each in (tied, last))
                        and allowed(rule, tied)
                        and allowed(rule, last, middle=True)
                    ):
                        yield [tied, last]

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        fact, *chain = candidate.held.values()
        rule = candidate.group.rule
        assert rule is not None
        new = draw(knowledge.objects(rule.first), fact)
        return {
            "edits": [changed(knowledge, fact, new)],
            "chains": [[fact_line(knowledge, each) for each in chain]],
        }


def _candidate(group: Group, fact: KnownFact, chain: list[KnownFact]) -> Candidate:
    return Candidate(group, {"edit1": fact, **{_name(0, step): each for step, each in enumerate(chain)}}, {})


class Deduction(Pitfall[DeductionRow]):
    """A chain's facts are asked one by one, as in KnowGIC; the product says how reliable the deduction is."""

    name = "deduction"
    question = "Is what an edit replaced still deducible from other facts, and do these facts survive the edit?"
    topic = SPREAD
    row = DeductionRow
    facts: ClassVar = MappingProxyType(
        {
            **FACTS,
            "first": FactWords("the first fact of a chain, about the edit's subject", "first facts"),
            "link": FactWords("a fact of a chain that is not about the edit's subject", "further facts"),
            "end_new": FactWords("the edit's object at the end of a chain", in_story=False),
        }
    )
    written, replaced = WRITTEN, REPLACED
    metrics = (
        *EDIT_SUCCESS,
        Metric(
            name="ifr",
            title="IFR",
            higher_is_better=False,
            low=0.0,
            high=math.inf,
            definition="indirect fact recovery: mean over chains of R1 / R0, R = product of p over the chain's n "
            "facts, weighted by 1 / sqrt(n)",
            source=KNOWGIC,
            compute=_recovery,
            question="How reliable the deduction of the former fact still is: 1 as before the edit, 0 not at all.",
        ),
        Metric(
            name="preservation",
            title="Pres.",
            higher_is_better=True,
            low=0.0,
            high=math.inf,
            definition="mean of p1 / p0 over the facts of the chains that are not about the edit's subject",
            source=KNOWGIC,
            compute=_preservation,
            question="How much of the facts around the edit is left: 1 all of it.",
        ),
        *with_control(
            "ends_kept",
            "ends kept",
            _ends_kept,
            definition="share of the chains' last facts with p1(true object) > p1(o*)",
            before="ends_kept before any edit: p0(true object) > p0(o*)",
            asks_before="How many of them are likelier with their true object before any edit?",
            question="Do other subjects keep the object that the edit took from its own?",
        ),
    )
    thresholds = ("ifr <= 0.5", "preservation >= 0.8")
    columns = ("es", "ps", "ifr", "preservation", "ends_kept")
    order = 20
    plots_by_group = ("ifr", "preservation")
    constructions: ClassVar = MappingProxyType({"deduction": DeductionConstruction()})

    def program(self, case: Case, row: DeductionRow) -> Program:
        """Ask for the edit and for every fact of the chains, before and after; also for o* where a chain ends."""
        (change,) = row.edits
        probes = edit_probes(case)
        for place, step, fact in row.links():
            probes += ask(case, _name(place, step), fact, "0", "1")
        for place, chain in enumerate(row.chains):
            instead = Fact(chain[-1].relation, chain[-1].subject, change.new_object)
            probes += ask(case, f"end_new:{place}", instead, "0", "1")
        return program_of(case, row.edits, probes)
