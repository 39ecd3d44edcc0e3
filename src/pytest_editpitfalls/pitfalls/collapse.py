"""Collapse: does a single edit break the model, so that it no longer predicts plain text?"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import ClassVar

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.metrics.metric import Compute, FactProbabilities, Metric
from pytest_editpitfalls.metrics.shared import drift, mean, perplexity_ratio, ratio
from pytest_editpitfalls.probes import AnyProbe
from pytest_editpitfalls.program import Program

from ._construction import SingleFacts
from ._neutral_texts import FIXED_TEXTS, TEXTS
from ._one_edit import EDIT_SUCCESS, FACTS, REPLACED, WRITTEN, OneEditRow, edit_probes
from ._pitfall import FactWords, Pitfall, divergence, perplexity, program_of
from ._topics import LIFELONG

BUTTERFLY = "Yang et al. 2024 (arXiv:2402.09656): perplexity of fixed text after each single edit"

KILLED = 2.0
"""An edit after which plain text is predicted so many times as badly has broken the model."""


class CollapseConstruction(SingleFacts):
    """Any fact of a relation with one object a subject."""

    share = 0


def _perplexity_ratio(p: FactProbabilities) -> float | None:
    return ratio(p, "text", "1")


def _survived(p: FactProbabilities) -> float | None:
    found = _perplexity_ratio(p)
    return None if found is None else float(found <= KILLED)


def _perplexity(state: str) -> Compute:
    def compute(p: FactProbabilities) -> float | None:
        values = p.prompts.get(("text", state))
        return None if values is None else math.exp(mean([math.log(value) for value in values]))

    return compute


class Collapse(Pitfall[OneEditRow]):
    """The same texts before and after the edit. A case that fails names an edit that damages the model."""

    name = "collapse"
    question = "Does a single edit break the model, so that it no longer predicts plain text?"
    topic = LIFELONG
    row = OneEditRow
    facts: ClassVar = MappingProxyType(
        {
            **FACTS,
            "text": FactWords("plain texts, the first of which begins so", "plain text"),
            "drift": FactWords("beginnings of plain sentences, the first of which is this", in_story=False),
        }
    )
    written, replaced = WRITTEN, REPLACED
    metrics = (
        *EDIT_SUCCESS,
        perplexity_ratio(
            "after the edit",
            FIXED_TEXTS,
            "How many times as badly is plain text predicted after the edit? 1 is as well as before.",
            BUTTERFLY,
            _perplexity_ratio,
        ),
        Metric(
            name="worst_text_ratio",
            title="worst text",
            higher_is_better=False,
            low=0.0,
            high=math.inf,
            definition="the largest of the texts' ratios",
            source=BUTTERFLY,
            compute=lambda p: ratio(p, "text", "1", of=max),
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
            definition=f"geometric mean of the perplexity after the edit {FIXED_TEXTS}",
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
        drift(
            "the beginnings of the same texts", "How far is the next word of plain text from what it was? 0 is nowhere."
        ),
    )
    thresholds = ("perplexity_ratio <= 1.1",)
    columns = ("es", "ps", "perplexity_ratio", "worst_text_ratio", "survived")
    order = 32
    constructions: ClassVar = MappingProxyType({"collapse": CollapseConstruction()})

    def program(self, case: Case, row: OneEditRow) -> Program:
        """Ask for both objects after the edit, and for the texts before it as well."""
        probes: tuple[AnyProbe, ...] = (
            *edit_probes(case, "1"),
            *perplexity("text", TEXTS, "0", "1"),
            *divergence("drift", [" ".join(text.split()[:8]) for text in TEXTS], "1"),
        )
        return program_of(case, row.edits, probes)
