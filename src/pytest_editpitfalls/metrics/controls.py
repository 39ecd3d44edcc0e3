"""Scores that hold one fact against another, each with its controls: a score without them says nothing.

A model that was never edited already prefers one of two facts, often the longer one. So each score comes with the same
question before any edit, the same question after edit 2 alone, and the lift over the former.
"""

from __future__ import annotations

import math

from .metric import NOT_PUBLISHED, Compute, FactProbabilities, Metric
from .shared import difference, wins

NO_EDIT, EDIT_2_ALONE, BOTH = "0", "2", "12"


def score_with_controls(
    name: str, title: str, newer: str, older: str, *, definition: str, source: str, question: str
) -> tuple[Metric, ...]:
    """Return a score of state 12, then its controls ``_0`` (no edit) and ``_2`` (edit 2 alone), then its ``_lift``.

    Args:
        name: of the score ("cs_exp").
        title: of its column.
        newer, older: the facts that are compared; both are asked in states 0, 2 and 12.
        definition: one line.
        source: where the score was read; controls and lift are this project's.
        question: what the score asks, in plain language.
    """

    def compute(state: str) -> Compute:
        return wins((newer, state), (older, state))

    def control(state: str, words: str, asks: str) -> Metric:
        return Metric(
            name=f"{name}_{state}",
            title=f"{title}, {words}",
            higher_is_better=True,
            low=0.0,
            high=1.0,
            definition=f"{name} {asks}: p{state}({newer}) > p{state}({older})",
            source=NOT_PUBLISHED,
            compute=compute(state),
            question=f"What does {title} say {asks}?",
            is_binary=True,
            compares=(newer, older),
        )

    return (
        Metric(
            name=name,
            title=title,
            higher_is_better=True,
            low=0.0,
            high=1.0,
            definition=definition,
            source=source,
            compute=compute(BOTH),
            question=question,
            is_binary=True,
            control=f"{name}_{NO_EDIT}",
            lift=f"{name}_lift",
            compares=(newer, older),
        ),
        control(NO_EDIT, "no edit", "before any edit"),
        control(EDIT_2_ALONE, "edit 2 alone", "after edit 2 alone"),
        Metric(
            name=f"{name}_lift",
            title=f"{title} lift",
            higher_is_better=True,
            low=-1.0,
            high=1.0,
            definition=f"{name} - {name}_{NO_EDIT}, case by case",
            source=NOT_PUBLISHED,
            compute=difference(compute(BOTH), compute(NO_EDIT)),
            question="How much more often than before any edit? Below 0: less often than somebody who does nothing.",
        ),
    )


def gains_more(newer: str, older: str) -> Compute:
    """1 when the newer fact gained more than the older one by both edits, else 0.

    The gain is log P12 - log P0 with P the probability of the whole object: how likely the object is anyway cancels. (A
    longer one starts lower, so that it has more to gain.) Unknown where the engine does not say how many tokens an
    object has.
    """

    def compute(p: FactProbabilities) -> float | None:
        gains = []
        for fact in (newer, older):
            before, after = p.log_probability(fact, NO_EDIT), p.log_probability(fact, BOTH)
            if before is None or after is None or before == -math.inf:
                return None
            gains.append(after - before)
        return float(gains[0] > gains[1])

    return compute
