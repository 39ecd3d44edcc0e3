"""Scores that hold one fact against another, each with its controls: a score without them says nothing.

A model that was never edited already prefers one of two facts, often the longer one. So each score comes with the same
question before any edit, the same question after edit 2 alone, and the lift over the former.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .metric import NOT_PUBLISHED, Compute, FactProbabilities, Metric
from .shared import difference, mean, wins, wins_by_prompt

NO_EDIT, EDIT_2_ALONE, BOTH = "0", "2", "12"


def score_with_controls(
    name: str, title: str, newer: str, older: str, *, definition: str, source: str, question: str
) -> tuple[Metric, ...]:
    """Return a score of state 12, then its controls ``_0`` (no edit) and ``_2`` (edit 2 alone), then its ``_lift``.

    Args:
        name: of the score ("cs_exp").
        title: of its column.
        newer: the fact that should win, asked in states 0, 2 and 12.
        older: the fact that it is compared with, asked in the same states.
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


def share_with_controls(
    name: str,
    title: str,
    winner: str,
    loser: str,
    *,
    what: str,
    question: str,
    source: str = NOT_PUBLISHED,
    by_prompt: bool = False,
    higher_is_better: bool = True,
) -> tuple[Metric, ...]:
    """Return a share of state 1 over pairs of facts ("neighbour:0" against "neighbour_new:0", ...), with its control.

    The control ``_0`` is the same share before any edit, and ``_lift`` the difference.

    Args:
        name: of the share.
        title: of its column.
        winner, loser: the facts that are held against each other, pair by pair; all are asked in states 0 and 1.
        what: what is counted.
        question: what the share asks, in plain language.
        source: where the share was read; control and lift are this project's.
        by_prompt: whether each prompt of a pair counts by itself; otherwise the mean over a pair's prompts decides.
        higher_is_better: direction.
    """
    return with_control(
        name,
        title,
        lambda state: share_of_pairs([(winner, loser)], state, by_prompt=by_prompt),
        definition=f"share of {what}, after the edit: p1({winner}) > p1({loser}){', prompt by prompt' * by_prompt}",
        before=f"{name} before any edit: p0({winner}) > p0({loser})",
        asks_before=f"What is the share of {title} before any edit?",
        question=question,
        source=source,
        about=winner,
        higher_is_better=higher_is_better,
    )


def difference_with_controls(
    name: str, title: str, winner: str, loser: str, *, what: str, question: str, source: str = NOT_PUBLISHED
) -> tuple[Metric, ...]:
    """As `share_with_controls`, of the mean of p1(winner) - p1(loser) over the pairs."""

    def of(state: str) -> Compute:
        def compute(p: FactProbabilities) -> float | None:
            found = _pairs(p, [(winner, loser)])
            if not found or any((fact, state) not in p for pair in found for fact in pair):
                return None
            return mean([p[first, state] - p[second, state] for first, second in found])

        return compute

    return with_control(
        name,
        title,
        of,
        definition=f"mean of p1({winner}) - p1({loser}) over {what}",
        before=f"{name} before any edit: mean of p0({winner}) - p0({loser})",
        asks_before=f"What is {title} before any edit?",
        question=question,
        source=source,
        about=winner,
        low=-1.0,
    )


def share_of_pairs(pairs: Sequence[tuple[str, str]], state: str, *, by_prompt: bool = False) -> Compute:
    """The share of facts that are likelier than what they are held against in ``state``; unknown where one is.

    Args:
        pairs: winner and loser; ("neighbour", "neighbour_new") stands for "neighbour:0" against "neighbour_new:0", ...,
            or for these two where they have no numbers.
        state: the state.
        by_prompt: whether each prompt of a pair counts by itself; otherwise the mean over a pair's prompts decides.
    """

    def compute(p: FactProbabilities) -> float | None:
        won: list[bool] = []
        for winner, loser in _pairs(p, pairs):
            if (winner, state) not in p or (loser, state) not in p:
                return None
            whole = [p[winner, state] > p[loser, state]]
            of_pair = wins_by_prompt(p, winner, loser, state) if by_prompt else whole
            if of_pair is None:
                return None
            won += of_pair
        return sum(won) / len(won) if won else None

    return compute


def _pairs(p: FactProbabilities, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The facts that these pairs stand for, of those that are asked."""
    asked = {fact for fact, _ in p}
    return [
        (f"{winner}:{place}", f"{loser}:{place}") if place else (winner, loser)
        for winner, loser in pairs
        for place in sorted({fact.partition(":")[2] for fact in asked if fact.partition(":")[0] in (winner, loser)})
    ]


def with_control(
    name: str,
    title: str,
    score: Callable[[str], Compute],
    *,
    definition: str,
    before: str,
    asks_before: str,
    question: str,
    source: str = NOT_PUBLISHED,
    about: str | None = None,
    is_binary: bool = False,
    low: float = 0.0,
    higher_is_better: bool = True,
) -> tuple[Metric, ...]:
    """Return a score of state 1 between ``low`` and 1, the same before any edit (``_0``), and the difference.

    Args:
        name: of the score.
        title: of its column.
        score: gives the score of a state.
        definition, before: one line each: of the score, and of the control.
        question, asks_before: what they ask, in plain language.
        source: where the score was read; control and lift are this project's.
        about: as of `Metric`.
        is_binary: whether every case scores 0 or 1.
        low: the smallest value.
        higher_is_better: direction.
    """
    than_before = (
        "Below 0: less than somebody scores who does nothing."
        if higher_is_better
        else "Above 0: more than with somebody who does nothing."
    )

    def metric(suffix: str, words: str, said: str, asks: str, compute: Compute, **more: Any) -> Metric:
        return Metric(
            name=f"{name}{suffix}",
            title=f"{title}{words}",
            higher_is_better=higher_is_better,
            definition=said,
            compute=compute,
            question=asks,
            about=about,
            **{"low": low, "high": 1.0, "source": NOT_PUBLISHED, "is_binary": is_binary, **more},
        )

    pair = {"control": f"{name}_{NO_EDIT}", "lift": f"{name}_lift"}
    return (
        metric("", "", definition, question, score("1"), source=source, **pair),
        metric(f"_{NO_EDIT}", ", no edit", before, asks_before, score(NO_EDIT)),
        metric(
            "_lift",
            " lift",
            f"{name} - {name}_{NO_EDIT}, case by case",
            f"How much more than before any edit? {than_before}",
            difference(score("1"), score(NO_EDIT)),
            low=low - 1.0,
            high=1.0 - low,
            is_binary=False,
        ),
    )


def change_with_control(
    name: str,
    title: str,
    minuend: tuple[str, Callable[[str], Compute]],
    subtrahend: tuple[str, Callable[[str], Compute]],
    *,
    question: str,
    source: str = NOT_PUBLISHED,
) -> tuple[Metric, ...]:
    """As `with_control`, of one share minus another, case by case: what a difference of circumstances costs.

    Less of it is better. Both shares may differ before any edit as well, so that the lift is what the edit adds.

    Args:
        minuend, subtrahend: name of the share, and what gives it in a state.
    """
    (first, one), (second, other) = minuend, subtrahend
    return with_control(
        name,
        title,
        lambda state: difference(one(state), other(state)),
        definition=f"{first} - {second}, case by case",
        before=f"{name} before any edit: {first}_{NO_EDIT} - {second}_{NO_EDIT}",
        asks_before=f"What is {title} before any edit?",
        question=question,
        source=source,
        low=-1.0,
        higher_is_better=False,
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
