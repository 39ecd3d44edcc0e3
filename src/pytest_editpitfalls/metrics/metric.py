"""What a metric is: a pure function from a case's probabilities to one number, or None where it is unknown.

A fact's probability in a state is the arithmetic mean over all its prompts, the rewrite prompt and the paraphrases
alike; edit success alone looks at single prompts. All values are fractions. docs/metrics.md gives every formula with
its source. Which metrics there are is said by the kinds of pitfall (`pytest_editpitfalls.pitfalls`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pytest_editpitfalls.program import ProbeScore

RELEASED = "released code of the pitfalls benchmark, experiments/summarize.py"
PAPER = "Li et al. 2024 (arXiv:2310.02129), section {section}"


class FactProbabilities(dict[tuple[str, str], float]):
    """(fact, state) -> mean probability; what is unknown is absent.

    Attributes:
        prompts: (fact, state) -> the probabilities behind the mean, rewrite prompt first, then the paraphrases.
    """

    def __init__(self, prompts: Mapping[tuple[str, str], tuple[float, ...]]) -> None:
        super().__init__({key: math.fsum(values) / len(values) for key, values in prompts.items()})
        self.prompts = prompts


Compute = Callable[[FactProbabilities], "float | None"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric is called and how it is computed.

    Two kinds of pitfall may have a metric of the same name. It then has the same title, direction and unit in both.

    Attributes:
        name: the name in results, thresholds and gates ("cs_exp").
        title: the column title in reports.
        higher_is_better: direction.
        low: smallest possible value, or None when unbounded below.
        high: largest possible value.
        definition: one line.
        source: where the definition was read.
        compute: the function; it returns None when a probability that it needs is unknown.
        question: what the metric asks, in plain language.
        is_binary: whether every case scores 0 or 1 (then an interval for a proportion applies).
        released_form_of: the metric that this one is the released code's variant of; it is shown only where published
            figures stand beside it.
    """

    name: str
    title: str
    higher_is_better: bool
    low: float | None
    high: float
    definition: str
    source: str
    compute: Compute = field(repr=False, compare=False)
    question: str = ""
    is_binary: bool = False
    released_form_of: str | None = None


def fact_probabilities(scores: Iterable[ProbeScore]) -> FactProbabilities:
    """Return the probability of every fact and state.

    A score without prompts, or with anything that is no finite number between 0 and 1, is left out: it is
    unknown.
    """
    known: dict[tuple[str, str], tuple[float, ...]] = {}
    for score in scores:
        values = score.probabilities
        # A probability is exp of a mean log-probability: rounding may lift it a hair above 1.
        # What is not finite shows in the sum; min and max alone could miss a NaN.
        if values and math.isfinite(sum(values)) and min(values) >= 0.0 and max(values) <= 1.0 + 1e-6:
            known[score.fact, score.state] = values
    return FactProbabilities(known)
