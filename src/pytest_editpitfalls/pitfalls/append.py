"""Append: one more object is added to a relation with several; does it join the others, and do they stay?

After PEAK (Ma et al. 2024, arXiv:2401.17623; github.com/mjy1111/PEAK).
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.knowledge import Knowledge
from pytest_editpitfalls.metrics.controls import with_control
from pytest_editpitfalls.metrics.metric import Compute, FactProbabilities
from pytest_editpitfalls.metrics.shared import edit_success
from pytest_editpitfalls.program import Program

from ._construction import Candidate, Draw, Group, NoTarget
from ._pitfall import FactWords, Pitfall, ask, program_of
from ._several import SYNONYMS, Labels, SeveralConstruction, SeveralRow, probabilities
from ._topics import SPREAD

PEAK = "Ma et al. 2024 (arXiv:2401.17623), PEAK; formulas as in the released experiments/summarize.py"

FEWEST_FALSE, MOST_FALSE = 3, 6


OPEN = frozenset(("ingredient",))
"""Relations of the tables that ship of whose objects only some are known: a false one may be true."""

ONE_OF_SEVERAL = re.compile(r"(one of|an?|another|among)\s", re.IGNORECASE)


def asks_for_one_of(prompt: str) -> bool:
    """Whether an English prompt asks for one of several objects: "One of the ports of {} is", "A product of {} is"."""
    return ONE_OF_SEVERAL.match(prompt) is not None


class AppendRow(SeveralRow):
    """One more object for (s, r).

    Attributes:
        false_objects: objects of the relation that are not true of s, and that nobody writes.
    """

    false_objects: Annotated[Labels, Field(min_length=1)]

    def lists(self) -> tuple[str, ...]:
        """Return the fields with objects beside the edit's."""
        return (*super().lists(), "false_objects")


class AppendConstruction(SeveralConstruction):
    """As `SeveralConstruction`, with three to six further objects that are not true.

    Of relations whose prompt asks for one of several: what follows "The language of Peru is" replaces, it adds nothing.
    """

    left_out = SYNONYMS | OPEN

    def groups(self, knowledge: Knowledge) -> Iterator[Group]:
        for group in super().groups(knowledge):
            relation = knowledge.relations[group.relation]
            if all(asks_for_one_of(each.prompt) for each in (relation, relation.plural) if each is not None):
                yield group

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        made = super().row(knowledge, candidate, draw)
        fact = candidate.edited
        pool = knowledge.objects(fact.relation)
        taken = [thing for thing in pool if thing.in_text == made["edits"][0]["new_object"]]
        taken += [known.to for known in knowledge.of(fact.relation, fact.subject)]
        false: list[str] = []
        with contextlib.suppress(NoTarget):
            while len(false) < MOST_FALSE:
                taken.append(draw(pool, fact, unlike=taken))
                false.append(taken[-1].in_text)
        if len(false) < FEWEST_FALSE:
            raise NoTarget("too few objects of the same kind and length are left that are false")
        return {**made, "false_objects": false}


def _by_prompt(p: FactProbabilities, names: tuple[str, ...], state: str) -> list[list[float]] | None:
    """For each prompt, the probabilities of all facts of these names; None where one is unknown."""
    facts = sorted({fact for fact, _ in p if fact.partition(":")[0] in names})
    values = [p.prompts.get((fact, state)) for fact in facts]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values) or len({len(value) for value in known}) > 1:
        return None
    return [list(prompt) for prompt in zip(*known, strict=True)]


TRUE, FALSE = ("object", "other"), ("false",)


def _squashed(values: Sequence[float]) -> list[float]:
    """The logistic function of each probability, as PEAK weighs objects."""
    return [1.0 / (1.0 + math.exp(-value)) for value in values]


def _forgotten(true: Sequence[float], false: Sequence[float]) -> float:
    """PEAK's relative forgetting factor: the share of true objects, by weight, that some false one is likelier than."""
    weights, bound = _squashed(true), max(_squashed(false))
    return math.fsum(weight for weight in weights if weight < bound) / math.fsum(weights)


def _noised(true: Sequence[float], false: Sequence[float]) -> float:
    """PEAK's relative noising factor: the share of false objects, by weight, that are likelier than some true one."""
    weights, bound = _squashed(false), min(_squashed(true))
    return math.fsum(weight for weight in weights if weight > bound) / math.fsum(weights)


def _factor(state: str, relative: Callable[[Sequence[float], Sequence[float]], float], loses: int) -> Compute:
    """A factor of PEAK, the mean over prompts: 1 - (1 - relative factor) * c.

    c is how much of the mean probability of true objects is left, or the inverse for false ones, and 1 at most.

    Args:
        loses: 1 where a loss of true objects counts, -1 where a gain of false ones does.
    """

    def compute(p: FactProbabilities) -> float | None:
        now = [_by_prompt(p, names, state) for names in (TRUE, FALSE)]
        before = _by_prompt(p, TRUE if loses > 0 else FALSE, "0")
        true, false = now
        if true is None or false is None or before is None:
            return None
        found = []
        for old, kept, wrong in zip(before, true, false, strict=True):
            first, second = math.fsum(old), math.fsum(kept if loses > 0 else wrong)
            of, to = (second, first) if loses > 0 else (first, second)
            left = min(1.0, of / to) if to > 0.0 else 1.0
            found.append(1.0 - (1.0 - relative(kept, wrong)) * left)
        return math.fsum(found) / len(found)

    return compute


def _forgetting(state: str) -> Compute:
    return _factor(state, _forgotten, 1)


def _noising(state: str) -> Compute:
    return _factor(state, _noised, -1)


def _joins(state: str) -> Compute:
    """1 where the new object is likelier than every false one."""

    def compute(p: FactProbabilities) -> float | None:
        new, false = p.get(("new", state)), probabilities(p, FALSE, state)
        return None if new is None or false is None else float(new > max(false))

    return compute


def _kept(state: str) -> Compute:
    """The share of true objects that are likelier than every false one."""

    def compute(p: FactProbabilities) -> float | None:
        true, false = probabilities(p, TRUE, state), probabilities(p, FALSE, state)
        return None if true is None or false is None else sum(value > max(false) for value in true) / len(true)

    return compute


class Append(Pitfall[AppendRow]):
    """The edit's object stays true as well: it is what an editor is told to write over, as in PEAK."""

    name = "append"
    question = "When one more object is added to several true ones, does it join them, and do they stay?"
    topic = SPREAD
    row = AppendRow
    facts: ClassVar = MappingProxyType(
        {
            "new": FactWords("the object that is added", "added object"),
            "object": FactWords("the true object that the edit names", "named object"),
            "other": FactWords("another true object", "other objects"),
            "false": FactWords("an object that is not true", "false objects", in_story=False),
        }
    )
    written, replaced = "new", "object"
    metrics = (
        *edit_success(written, replaced),
        *with_control(
            "joins",
            "joins",
            _joins,
            definition="1 where the added object is likelier than every false one: p1(o*) > max p1(false)",
            before="joins before any edit: p0(o*) > max p0(false)",
            asks_before="Is it likelier than all of them before any edit?",
            question="Does the added object take its place above what is not true?",
            is_binary=True,
        ),
        *with_control(
            "true_kept",
            "true kept",
            _kept,
            definition="share of the true objects with p1 > max p1(false)",
            before="true_kept before any edit: p0 > max p0(false)",
            asks_before="How many of them are likelier than all that is not true before any edit?",
            question="How many of the true objects are still likelier than all that is not true?",
        ),
        *with_control(
            "aff",
            "AFF",
            _forgetting,
            definition="absolute forgetting factor: 1 - (1 - RFF) min(1, mean p1 / mean p0 of the true objects), mean "
            "over prompts; RFF: share of them, weighted by 1 / (1 + exp(-p1)), with p1 < max p1(false)",
            before="aff before any edit, which is RFF then",
            asks_before="What is AFF before any edit?",
            question="How much of the true objects is forgotten, in rank or in probability: 0 nothing, 1 all.",
            source=PEAK,
            higher_is_better=False,
        ),
        *with_control(
            "anf",
            "ANF",
            _noising,
            definition="absolute noising factor: 1 - (1 - RNF) min(1, mean p0 / mean p1 of the false objects), mean "
            "over prompts; RNF: share of them, weighted by 1 / (1 + exp(-p1)), with p1 > min p1(true)",
            before="anf before any edit, which is RNF then",
            asks_before="What is ANF before any edit?",
            question="How much likelier what is not true becomes, in rank or in probability: 0 nothing, 1 all.",
            source=PEAK,
            higher_is_better=False,
        ),
    )
    thresholds = ("joins >= 1", "true_kept >= 0.5")
    columns = ("es", "ps", "joins", "true_kept", "aff", "anf")
    order = 22
    constructions: ClassVar = MappingProxyType({"append": AppendConstruction()})

    def program(self, case: Case, row: AppendRow) -> Program:
        """Ask for the added object, the true ones and the false ones, before and after the edit."""
        (change,) = row.edits
        probes = ask(case, "new", change.after, "0", "1") + ask(case, "object", change.before, "0", "1")
        for name, labels in (("other", row.others), ("false", row.false_objects)):
            for place, label in enumerate(labels):
                probes += ask(case, f"{name}:{place}", row.about(label), "0", "1")
        return program_of(case, row.edits, probes)
