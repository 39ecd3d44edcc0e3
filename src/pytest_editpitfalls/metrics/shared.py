"""Metrics that several kinds of pitfall share, and the functions that they are made of."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from .metric import NOT_PUBLISHED, Compute, FactProbabilities, Metric

COUNTERFACT = "Meng et al. 2022 (arXiv:2202.05262), CounterFact: ES and PS; here after edit 1 of two"


def edit_success(written: str, replaced: str) -> tuple[Metric, Metric]:
    """Return ES and PS of edit 1: whether it takes on its own prompt, and on paraphrases.

    Args:
        written: name of the fact that edit 1 writes; it is asked in state 1.
        replaced: name of the fact that edit 1 replaces; it is asked in state 1.
    """

    def paraphrase_success(p: FactProbabilities) -> float | None:
        wins = wins_by_prompt(p, written, replaced, "1")
        return None if wins is None or len(wins) < 2 else sum(wins[1:]) / len(wins[1:])

    return (
        Metric(
            name="es",
            title="ES",
            higher_is_better=True,
            low=0.0,
            high=1.0,
            definition="edit success of edit 1: p1(target_new) > p1(target_true) after the rewrite prompt",
            source=COUNTERFACT,
            compute=wins_on_rewrite_prompt(written, replaced, "1"),
            question="Does edit 1 take? 1 when the model then prefers the new object to the one that it replaces.",
            is_binary=True,
        ),
        Metric(
            name="ps",
            title="PS",
            higher_is_better=True,
            low=0.0,
            high=1.0,
            definition="edit success of edit 1 on paraphrases: share of them with p1(target_new) > p1(target_true)",
            source=COUNTERFACT,
            compute=paraphrase_success,
            question="Does edit 1 hold in other words? The share of paraphrases that answer with the new object.",
        ),
    )


def value_of(fact: str, state: str) -> Compute:
    """What was measured of a fact in a state, as it is: the mean over its prompts or texts."""
    return lambda p: p.get((fact, state))


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean, rounded once."""
    return math.fsum(values) / len(values)


def drift(after: str, question: str, compute: Compute | None = None, about: str | None = None) -> Metric:
    """Return the metric of how far what is said next is from the base model's, whatever is said.

    Args:
        after: which prompts it is measured after, and when, in words.
        question: what it asks, in plain language.
        compute: by default what was measured as "drift" in state 1.
        about: as of `Metric`.
    """
    return Metric(
        name="drift",
        title="drift",
        higher_is_better=False,
        low=0.0,
        high=math.inf,
        definition=f"mean of KL(base || edited), in nats, of the next token after {after}",
        source=NOT_PUBLISHED,
        compute=value_of("drift", "1") if compute is None else compute,
        question=question,
        about=about,
    )


def perplexity_ratio(when: str, texts: str, question: str, source: str, compute: Compute) -> Metric:
    """Return the metric of how many times as badly plain texts are predicted.

    Args:
        when: when they are predicted so ("after the edit").
        texts: which texts, in words.
        question: what it asks, in plain language.
        source: where it was read.
        compute: the function.
    """
    return Metric(
        name="perplexity_ratio",
        title="perplexity ratio",
        higher_is_better=False,
        low=0.0,
        high=math.inf,
        definition=f"geometric mean of perplexity {when} / before any edit {texts}",
        source=source,
        compute=compute,
        question=question,
    )


def wins_by_prompt(p: FactProbabilities, winner: str, loser: str, state: str) -> list[bool] | None:
    """Per prompt, rewrite prompt first: p(winner) > p(loser) in ``state``, strictly; None when one is unknown."""
    first, second = p.prompts.get((winner, state)), p.prompts.get((loser, state))
    if first is None or second is None or len(first) != len(second):
        return None
    return [a > b for a, b in zip(first, second, strict=True)]


def wins(winner: tuple[str, str], loser: tuple[str, str]) -> Compute:
    """1 when p(winner) > p(loser), strictly, else 0; each is a fact in a state."""

    def compute(p: FactProbabilities) -> float | None:
        return None if winner not in p or loser not in p else float(p[winner] > p[loser])

    return compute


def wins_on_rewrite_prompt(winner: str, loser: str, state: str) -> Compute:
    """1 when p(winner) > p(loser) after the rewrite prompt, strictly, else 0: edit success."""

    def compute(p: FactProbabilities) -> float | None:
        by_prompt = wins_by_prompt(p, winner, loser, state)
        return None if by_prompt is None else float(by_prompt[0])

    return compute


def difference(one: Compute, other: Compute) -> Compute:
    """One metric minus another, of the same case."""

    def compute(p: FactProbabilities) -> float | None:
        first, second = one(p), other(p)
        return None if first is None or second is None else first - second

    return compute


def log_ratio(fact: str, before: str, after: str) -> Compute:
    """ln(p_after / p_before) of one fact, prompt by prompt, and the median of these; unknown where that is infinite."""

    def compute(p: FactProbabilities) -> float | None:
        ratios = log_ratios(p, fact, before, after)
        if ratios is None:
            return None
        middle = statistics.median(ratios)
        return middle if math.isfinite(middle) else None

    return compute


def log_ratios(p: FactProbabilities, fact: str, before: str, after: str) -> list[float] | None:
    """ln(after / before) of each prompt or text of one fact; a 0 after counts as minus infinity.

    None where one of the two is unknown, or there is a 0 before.
    """
    first, second = p.prompts.get((fact, before)), p.prompts.get((fact, after))
    if first is None or second is None or len(first) != len(second) or 0.0 in first:
        return None
    return [math.log(b) - math.log(a) if b > 0.0 else -math.inf for a, b in zip(first, second, strict=True)]


def ratio(p: FactProbabilities, fact: str, state: str, of: Callable[[Sequence[float]], float] = mean) -> float | None:
    """Return how many times as large the values of a fact are in a state as before any edit.

    Args:
        of: makes one of the logarithms of the ratios: their mean (the geometric mean of the ratios), or ``max``.
    """
    ratios = log_ratios(p, fact, "0", state)
    return None if ratios is None else math.exp(of(ratios))


KEPT = 0.9
"""A fact that keeps this share of its probability is kept."""


def staying(
    name: str, fact: str, title: str, words: str, *, higher_is_better: bool | None = True
) -> tuple[Metric, Metric]:
    """Return the metrics of facts that ought to stay as they are, or are watched: ``_kept`` and ``_log_ratio``.

    Args:
        name: first part of the metrics' names ("siblings").
        fact: the facts ("sibling" stands for "sibling:0", ...), asked in states 0 and 1.
        title: of the facts, for the columns.
        words: the facts in a sentence ("the other true objects").
        higher_is_better: None where the facts may change as well as stay.
    """
    return (
        Metric(
            name=f"{name}_kept",
            title=f"{title} kept",
            higher_is_better=higher_is_better,
            low=0.0,
            high=1.0,
            definition=f"share of {words} with p1 >= {KEPT:g} p0",
            source=NOT_PUBLISHED,
            compute=kept(fact),
            question=f"How many of {words} keep nine tenths of their probability?",
            about=fact,
        ),
        Metric(
            name=f"{name}_log_ratio",
            title=f"ln {title}",
            higher_is_better=higher_is_better,
            low=None,
            high=math.inf,
            definition=f"mean of ln(p1 / p0) over {words}",
            source=NOT_PUBLISHED,
            compute=mean_log_ratio(fact),
            question=f"How much likelier or less likely {words} become: -0.7 is half as likely.",
            about=fact,
        ),
    )


def kept(name: str) -> Compute:
    """The share of the facts ``name:0``, ... that keep nine tenths of their probability; unknown where one is."""
    return lambda p: share_kept(p, name, "1")


def share_kept(p: FactProbabilities, name: str, state: str, *, share: float = KEPT) -> float | None:
    """Return how many of the facts ``name:0``, ... have this share of their p0 in a state; None: one is unknown."""
    facts = numbered(p, name)
    if not facts or any((fact, each) not in p for fact in facts for each in ("0", state)):
        return None
    return sum(p[fact, state] >= share * p[fact, "0"] for fact in facts) / len(facts)


def mean_log_ratio(name: str) -> Compute:
    """The mean of ln(p1 / p0) over the facts ``name:0``, ...; unknown where a probability is or is 0."""

    def compute(p: FactProbabilities) -> float | None:
        facts = numbered(p, name)
        if not facts or any(p.get((fact, state), 0.0) == 0.0 for fact in facts for state in "01"):
            return None
        return math.fsum(math.log(p[fact, "1"]) - math.log(p[fact, "0"]) for fact in facts) / len(facts)

    return compute


def numbered(p: FactProbabilities, name: str) -> list[str]:
    """Return the facts of this name ("sibling:0", ...) that are known in some state, in their order."""
    found = {fact for fact, _ in p if fact.partition(":")[0] == name}
    return sorted(found, key=lambda fact: int(fact.partition(":")[2]))


def relative_loss(fact: str, before: str, after: str) -> Compute:
    """(p_before - p_after) / p_before of one fact; unknown when p_before is 0."""

    def compute(p: FactProbabilities) -> float | None:
        before_p, after_p = p.get((fact, before)), p.get((fact, after))
        if before_p is None or after_p is None or before_p == 0.0:
            return None
        return (before_p - after_p) / before_p

    return compute


def jensen_shannon(first: list[float], second: list[float]) -> float | None:
    """Jensen-Shannon divergence (nats) of two lists, each normalised to sum 1; None when one is all 0."""
    totals = math.fsum(first), math.fsum(second)
    if len(first) != len(second) or 0.0 in totals:
        return None
    terms = []
    for a, b in zip(first, second, strict=True):
        x, y = a / totals[0], b / totals[1]
        middle = (x + y) / 2
        terms += [part * math.log(part / middle) / 2 for part in (x, y) if part > 0.0 and middle > 0.0]
    return min(max(math.fsum(terms), 0.0), math.log(2.0))
