"""What a metric is: a pure function from a case's probabilities to one number, or None where it is unknown.

A fact's probability in a state is the arithmetic mean over all its prompts, the rewrite prompt and the paraphrases
alike; edit success alone looks at single prompts. All values are fractions. docs/metrics.md gives every formula with
its source. Which metrics there are is said by the kinds of pitfall (`pytest_editpitfalls.pitfalls`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pytest_editpitfalls.probes import Measure
from pytest_editpitfalls.program import ProbeScore

RELEASED = "released code of the pitfalls benchmark, experiments/summarize.py"
PAPER = "Li et al. 2024 (arXiv:2310.02129), section {section}"
NOT_PUBLISHED = "this project; docs/metrics.md says why"


class FactProbabilities(dict[tuple[str, str], float]):
    """(fact, state) -> mean probability, or mean of what else was measured; what is unknown is absent.

    Attributes:
        prompts: (fact, state) -> the probabilities behind the mean, rewrite prompt first, then the paraphrases.
        tokens: (fact, state) -> how many tokens the fact's object has, where that is known.
        measures: (fact, state) -> what the values are, where they are no probabilities.
        texts: (fact, state) -> what the model said after each prompt, of facts that it was to say.
    """

    def __init__(
        self,
        prompts: Mapping[tuple[str, str], tuple[float, ...]],
        tokens: Mapping[tuple[str, str], int] = MappingProxyType({}),
        measures: Mapping[tuple[str, str], Measure] = MappingProxyType({}),
        texts: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType({}),
    ) -> None:
        super().__init__({key: math.fsum(values) / len(values) for key, values in prompts.items()})
        self.prompts = prompts
        self.tokens = tokens
        self.measures = measures
        self.texts = texts

    def log_probability(self, fact: str, state: str) -> float | None:
        """Return the log-probability (nats) of the whole object, summed over its tokens: the mean over the prompts.

        None where the number of tokens is unknown; minus infinity where a probability is 0.
        """
        values, tokens = self.prompts.get((fact, state)), self.tokens.get((fact, state))
        if values is None or tokens is None:
            return None
        if 0.0 in values:
            return -math.inf
        return tokens * math.fsum(map(math.log, values)) / len(values)


_RANGES: Mapping[Measure, tuple[float, float]] = MappingProxyType(
    {
        # exp of a mean log-probability: rounding may lift it a hair above 1
        "probability": (0.0, 1.0 + 1e-6),
        "said": (0.0, 1.0),
        "perplexity": (1.0 - 1e-6, math.inf),
        "divergence": (0.0, math.inf),
    }
)
"""The values that a measure can have."""

Compute = Callable[[FactProbabilities], "float | None"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric is called and how it is computed.

    Two kinds of pitfall may have a metric of the same name. It then has the same title, direction and unit in both.

    Attributes:
        name: the name in results, thresholds and gates ("cs_exp").
        title: the column title in reports.
        higher_is_better: direction; None where neither more nor less of it is better.
        low: smallest possible value, or None when unbounded below.
        high: largest possible value; `math.inf` when unbounded above.
        definition: one line.
        source: where the definition was read.
        compute: the function; it returns None when a probability that it needs is unknown.
        question: what the metric asks, in plain language.
        is_binary: whether every case scores 0 or 1 (then an interval for a proportion applies).
        released_form_of: the metric that this one is the released code's variant of; it is shown only where published
            figures stand beside it.
        control: the metric that is the same on the model before any edit: what somebody scores who does nothing.
        lift: the metric that is the difference of this one and its control, case by case.
        compares: the two facts whose probabilities it holds against each other, where it is decided by which is
            larger; a case whose two objects have unequal numbers of tokens is marked.
        about: the facts that it is about ("sibling" stands for "sibling:0", "sibling:1", ...), or the state ("after
            100"). A case that asks for none of them does not have the metric, and is not judged by it. None: every
            case of the kind has it.
    """

    name: str
    title: str
    higher_is_better: bool | None
    low: float | None
    high: float
    definition: str
    source: str
    compute: Compute = field(repr=False, compare=False)
    question: str = ""
    is_binary: bool = False
    released_form_of: str | None = None
    control: str | None = None
    lift: str | None = None
    compares: tuple[str, str] | None = None
    about: str | None = None

    @property
    def is_share(self) -> bool:
        """Whether its values are shares or their differences: reports write these in per cent, others as they are."""
        return self.high <= 2.0

    def applies(self, asked: Iterable[str]) -> bool:
        """Whether a case that asks for these facts, in these states, has the metric."""
        return self.about is None or any(name.partition(":")[0] == self.about for name in asked)


def fact_probabilities(scores: Iterable[ProbeScore]) -> FactProbabilities:
    """Return the value of every fact and state: its probability, or what else was measured of it.

    A score without prompts, or with anything that is no finite number in the range of its measure, is left out: it is
    unknown.
    """
    known: dict[tuple[str, str], tuple[float, ...]] = {}
    tokens: dict[tuple[str, str], int] = {}
    measures: dict[tuple[str, str], Measure] = {}
    texts: dict[tuple[str, str], tuple[str, ...]] = {}
    for score in scores:
        values = score.probabilities
        # What is not finite shows in the sum; min and max alone could miss a NaN.
        low, high = _RANGES[score.measure]
        if values and math.isfinite(sum(values)) and min(values) >= low and max(values) <= high:
            known[score.fact, score.state] = values
            if score.tokens is not None:
                tokens[score.fact, score.state] = score.tokens
            if score.measure != "probability":
                measures[score.fact, score.state] = score.measure
            if score.texts:
                texts[score.fact, score.state] = score.texts
    return FactProbabilities(known, tokens, measures, texts)
