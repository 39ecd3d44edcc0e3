"""Collapse: does a single edit break the model, so that it no longer predicts plain text?"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, ClassVar

from pytest_editpitfalls.cases.case import Case, Edit, Row
from pytest_editpitfalls.knowledge import Knowledge
from pytest_editpitfalls.metrics.metric import NOT_PUBLISHED, Compute, FactProbabilities, Metric
from pytest_editpitfalls.metrics.shared import edit_success
from pytest_editpitfalls.probes import AnyProbe
from pytest_editpitfalls.program import Program

from ._construction import Candidate, Draw, SingleFacts, edit
from ._neutral_texts import DIGEST, TEXTS
from ._pitfall import FactWords, Pitfall, ask, divergence, perplexity, program_of
from ._topics import LIFELONG

BUTTERFLY = "Yang et al. 2024 (arXiv:2402.09656): perplexity of fixed text after each single edit"
ONE_TEXT = f"over {len(TEXTS)} fixed texts (digest {DIGEST})"

KILLED = 2.0
"""An edit after which plain text is predicted so many times as badly has broken the model."""


class CollapseRow(Row):
    """One edit."""

    edits: tuple[Edit]


class CollapseConstruction(SingleFacts):
    """Any fact of a relation with one object a subject."""

    share = 0

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        fact = candidate.edited
        new = draw(knowledge.objects(fact.relation), fact)
        return {"edits": [edit(knowledge, fact.relation, fact.of, fact.to, new, fact.subject_number)]}


def _log_ratios(p: FactProbabilities) -> list[float] | None:
    """ln(perplexity after / before) of each text; None where one is unknown."""
    before, after = p.prompts.get(("text", "0")), p.prompts.get(("text", "1"))
    if before is None or after is None or len(before) != len(after):
        return None
    return [math.log(new) - math.log(old) for new, old in zip(after, before, strict=True)]


def _ratio(of: Callable[[list[float]], float]) -> Compute:
    """A ratio of perplexities: ``exp`` of what ``of`` makes of their logarithms."""

    def compute(p: FactProbabilities) -> float | None:
        found = _log_ratios(p)
        return None if found is None else math.exp(of(found))

    return compute


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


_perplexity_ratio = _ratio(_mean)


def _survived(p: FactProbabilities) -> float | None:
    ratio = _perplexity_ratio(p)
    return None if ratio is None else float(ratio <= KILLED)


def _perplexity(state: str) -> Compute:
    def compute(p: FactProbabilities) -> float | None:
        values = p.prompts.get(("text", state))
        return None if values is None else math.exp(_mean([math.log(value) for value in values]))

    return compute


class Collapse(Pitfall[CollapseRow]):
    """The same texts before and after the edit. A case that fails names an edit that damages the model."""

    name = "collapse"
    question = "Does a single edit break the model, so that it no longer predicts plain text?"
    topic = LIFELONG
    row = CollapseRow
    facts: ClassVar = MappingProxyType(
        {
            "new": FactWords("what the edit writes", "the edit's fact"),
            "true": FactWords("what the edit replaces", "the former fact"),
            "text": FactWords("plain texts, the first of which begins so", "plain text"),
            "drift": FactWords("beginnings of plain sentences, the first of which is this", in_story=False),
        }
    )
    written, replaced = "new", "true"
    metrics = (
        *edit_success(written, replaced),
        Metric(
            name="perplexity_ratio",
            title="perplexity ratio",
            higher_is_better=False,
            low=0.0,
            high=math.inf,
            definition=f"geometric mean of perplexity after the edit / before it {ONE_TEXT}",
            source=BUTTERFLY,
            compute=_perplexity_ratio,
            question="How many times as badly is plain text predicted after the edit? 1 is as well as before.",
        ),
        Metric(
            name="worst_text_ratio",
            title="worst text",
            higher_is_better=False,
            low=0.0,
            high=math.inf,
            definition="the largest of the texts' ratios",
            source=BUTTERFLY,
            compute=_ratio(max),
            question="How much worse is the text that suffers most?",
        ),
        Metric(
            name="survived",
            title="survived",
            higher_is_better=True,
            low=0.0,
            high=1.0,
            definition=f"1 where perplexity_ratio <= {KILLED:g}, else 0: the edit is a killer",
            source=BUTTERFLY,
            compute=_survived,
            question="Is the model still one after this edit?",
            is_binary=True,
        ),
        Metric(
            name="perplexity",
            title="perplexity",
            higher_is_better=False,
            low=1.0,
            high=math.inf,
            definition=f"geometric mean of the perplexity after the edit {ONE_TEXT}",
            source=BUTTERFLY,
            compute=_perplexity("1"),
            question="How well is plain text predicted after the edit?",
            control="perplexity_0",
        ),
        Metric(
            name="perplexity_0",
            title="perplexity, no edit",
            higher_is_better=False,
            low=1.0,
            high=math.inf,
            definition="perplexity before any edit",
            source=BUTTERFLY,
            compute=_perplexity("0"),
            question="How well is plain text predicted before any edit?",
        ),
        Metric(
            name="drift",
            title="drift",
            higher_is_better=False,
            low=0.0,
            high=math.inf,
            definition="mean KL(p0 || p1) of the next token after the beginnings of the same texts, in nats",
            source=NOT_PUBLISHED,
            compute=lambda p: p.get(("drift", "1")),
            question="How far is the next word of plain text from what it was? 0 is nowhere.",
        ),
    )
    thresholds = ("perplexity_ratio <= 1.1",)
    columns = ("es", "ps", "perplexity_ratio", "worst_text_ratio", "survived")
    order = 32
    constructions: ClassVar = MappingProxyType({"collapse": CollapseConstruction()})

    def program(self, case: Case, row: CollapseRow) -> Program:
        """Ask for both objects after the edit, and for the texts before it as well."""
        (one,) = row.edits
        probes: tuple[AnyProbe, ...] = (
            *ask(case, "new", one.after, "1"),
            *ask(case, "true", one.before, "1"),
            *perplexity("text", TEXTS, "0", "1"),
            *divergence("drift", [" ".join(text.split()[:8]) for text in TEXTS], "1"),
        )
        return program_of(case, row.edits, probes)
