"""The metrics: pure functions from a case's probe scores to one number, or None where it is unknown.

A fact's probability in a state is the arithmetic mean over all its prompts, the rewrite prompt and the
paraphrases alike; edit success alone looks at single prompts. All values
are fractions. docs/metrics.md gives every formula with its source.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

from pytest_editpitfalls.cases.case import CONFLICT_KINDS, KINDS, Kind
from pytest_editpitfalls.program import ProbeScore
from pytest_editpitfalls.registry import Registry


class FactProbabilities(dict[tuple[str, str], float]):
    """(fact, state) -> mean probability; what is unknown is absent.

    Attributes:
        prompts: (fact, state) -> the probabilities behind the mean, rewrite prompt first, then the paraphrases.
    """

    def __init__(self, prompts: Mapping[tuple[str, str], tuple[float, ...]]) -> None:
        super().__init__({key: math.fsum(values) / len(values) for key, values in prompts.items()})
        self.prompts = prompts


RELEASED = "released code of the pitfalls benchmark, experiments/summarize.py"
COUNTERFACT = "Meng et al. 2022 (arXiv:2202.05262), CounterFact: ES and PS; here after edit 1 of two"
SURVEY = "the paper's definition, from second-hand summaries (its text was not retrieved)"


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric is called, where it applies and how it is computed.

    Attributes:
        name: the name in results, thresholds and gates ("cs_exp").
        title: the column title in reports.
        kinds: the protocols that it is defined for.
        binary_kinds: the protocols in which every case scores 0 or 1.
        higher_is_better: direction.
        low: smallest possible value, or None when unbounded below.
        high: largest possible value.
        definition: one line.
        source: where the definition was read.
        compute: the function; it returns None when a probability that it needs is unknown.
    """

    name: str
    title: str
    kinds: tuple[Kind, ...]
    binary_kinds: tuple[Kind, ...]
    higher_is_better: bool
    low: float | None
    high: float
    definition: str
    source: str
    compute: Callable[[FactProbabilities], float | None] = field(repr=False, compare=False)

    def is_binary(self, kind: Kind) -> bool:
        """Return whether every case of ``kind`` scores 0 or 1 (then an interval for a proportion applies)."""
        return kind in self.binary_kinds


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


def compute_metrics(kind: Kind, scores: Iterable[ProbeScore]) -> dict[str, float | None]:
    """Return every metric of ``kind``, in table order; None where a metric is unknown, never NaN."""
    probabilities = fact_probabilities(scores)
    return {metric.name: _finite(metric.compute(probabilities)) for metric in metrics_for(kind)}


@cache
def metrics_for(kind: Kind) -> tuple[Metric, ...]:
    """Return the metrics that are defined for ``kind``, in table order."""
    return tuple(metric for metric in (METRICS.get(name) for name in METRICS) if kind in metric.kinds)


EDIT_1 = (("old", "replaced"), ("new_object", "object"))
"""What edit 1 writes and what it replaces, by fact: conflict cases, round cases."""


def wins_of_edit_1(p: FactProbabilities) -> list[bool] | None:
    """Per prompt, rewrite prompt first: p1(target_new) > p1(target_true), strictly; None when one is unknown."""
    for written, replaced in EDIT_1:
        new, true = p.prompts.get((written, "1")), p.prompts.get((replaced, "1"))
        if new is not None and true is not None and len(new) == len(true):
            return [a > b for a, b in zip(new, true, strict=True)]
    return None


def edit_success(p: FactProbabilities) -> float | None:
    """ES: 1 when edit 1's object is likelier than the one it replaces after the rewrite prompt, else 0."""
    wins = wins_of_edit_1(p)
    return None if wins is None else float(wins[0])


def paraphrase_success(p: FactProbabilities) -> float | None:
    """PS: the share of paraphrases after which edit 1's object is the likelier; unknown without paraphrases."""
    wins = wins_of_edit_1(p)
    return None if wins is None or len(wins) < 2 else sum(wins[1:]) / len(wins[1:])


def conflict_score(new: str) -> Callable[[FactProbabilities], float | None]:
    """CS: 1 when p12(new fact) > p12(old fact), strictly; else 0."""

    def compute(p: FactProbabilities) -> float | None:
        new_p, old_p = p.get((new, "12")), p.get(("old", "12"))
        return None if new_p is None or old_p is None else float(new_p > old_p)

    return compute


def relative_loss(fact: str, before: str, after: str) -> Callable[[FactProbabilities], float | None]:
    """(p_before - p_after) / p_before of one fact; unknown when p_before is 0."""

    def compute(p: FactProbabilities) -> float | None:
        before_p, after_p = p.get((fact, before)), p.get((fact, after))
        if before_p is None or after_p is None or before_p == 0.0:
            return None
        return (before_p - after_p) / before_p

    return compute


def conflict_magnitude(p: FactProbabilities) -> float | None:
    """CM as released: the relative loss of the old fact by edit 2, cut off below at -1 in every case."""
    loss = relative_loss("old", "1", "12")(p)
    return None if loss is None else max(loss, -1.0)


def success(p: FactProbabilities) -> float | None:
    """Succ: coverage, edit 2 alone wins; round, the mean over both edits."""
    pairs = (
        (("single_new", "2"), ("single_old", "2")),
        (("new_object", "1"), ("object", "1")),
        (("object", "12"), ("new_object", "12")),
    )
    asked = pairs[:1] if any(fact == "single_new" for fact, _ in p) else pairs[1:]
    wins = []
    for written, replaced in asked:
        if written not in p or replaced not in p:
            return None
        wins.append(float(p[written] > p[replaced]))
    return sum(wins) / len(wins)


def object_probabilities(p: FactProbabilities, state: str) -> list[float] | None:
    """Return p of the true objects (o1 first, then the others in file order), or None when one is unknown."""
    names = ["object"]
    while any((f"other:{len(names) - 1}", known) in p for known in ("0", "12")):
        names.append(f"other:{len(names) - 1}")
    values = [p.get((name, state)) for name in names]
    known = [value for value in values if value is not None]
    return known if len(known) == len(names) and len(names) > 1 else None


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


def distortion(p: FactProbabilities) -> float | None:
    """D: Jensen-Shannon divergence of the true objects' normalised probabilities, state 0 against 12."""
    before, after = object_probabilities(p, "0"), object_probabilities(p, "12")
    return None if before is None or after is None else jensen_shannon(before, after)


def distortion_released(p: FactProbabilities) -> float | None:
    """D as released: divided by the number of true objects once more (a "batch mean" over a plain vector)."""
    value = distortion(p)
    objects = object_probabilities(p, "0")
    return None if value is None or objects is None else value / len(objects)


def ignore_rate(p: FactProbabilities) -> float | None:
    """IR: the share of the other true objects (without o1) that lose probability: p0 > p12."""
    before, after = object_probabilities(p, "0"), object_probabilities(p, "12")
    if before is None or after is None:
        return None
    lost = [old > new for old, new in zip(before[1:], after[1:], strict=True)]
    return sum(lost) / len(lost)


def failure_rate(p: FactProbabilities) -> float | None:
    """FR: 1 when IR > 0.5, else 0."""
    rate = ignore_rate(p)
    return None if rate is None else float(rate > 0.5)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


_SPECS = (
    Metric(
        "es", "ES", KINDS, KINDS, True, 0.0, 1.0,
        "edit success of edit 1: p1(target_new) > p1(target_true) after the rewrite prompt",
        COUNTERFACT, edit_success,
    ),
    Metric(
        "ps", "PS", KINDS, (), True, 0.0, 1.0,
        "edit success of edit 1 on paraphrases: share of them with p1(target_new) > p1(target_true)",
        COUNTERFACT, paraphrase_success,
    ),
    Metric(
        "succ", "Succ", ("coverage", "round"), ("coverage",), True, 0.0, 1.0,
        "coverage: p2(o3) > p2(o2) after edit 2 alone; round: mean of p1(o*) > p1(o1) and p12(o1) > p12(o*)",
        RELEASED, success,
    ),
    Metric(
        "cs_exp", "CS exp", CONFLICT_KINDS, CONFLICT_KINDS, True, 0.0, 1.0,
        "conflict score, explicit: p12(edit 2's fact) > p12(edit 1's fact)",
        RELEASED, conflict_score("new_exp"),
    ),
    Metric(
        "cs_imp", "CS imp", ("reverse", "composite"), ("reverse", "composite"), True, 0.0, 1.0,
        "conflict score, implicit: p12(fact that edit 2 implies) > p12(edit 1's fact)",
        RELEASED, conflict_score("new_imp"),
    ),
    Metric(
        "cm", "CM", CONFLICT_KINDS, (), True, -1.0, 1.0,
        "conflict magnitude, released: max(-1, (p1 - p12) / p1) of edit 1's fact",
        RELEASED, conflict_magnitude,
    ),
    Metric(
        "cm_unclamped", "CM unclamped", CONFLICT_KINDS, (), True, None, 1.0,
        "conflict magnitude, definition: (p1 - p12) / p1 of edit 1's fact",
        SURVEY, relative_loss("old", "1", "12"),
    ),
    Metric(
        "tfd", "TFD", ("composite",), (), False, None, 1.0,
        "tied fact damage, definition: (p1 - p12) / p1 of the tied fact",
        SURVEY, relative_loss("tied", "1", "12"),
    ),
    Metric(
        "tfd_released", "TFD released", ("composite",), (), False, None, 1.0,
        "tied fact damage, released: (p0 - p12) / p0 of the tied fact",
        RELEASED, relative_loss("tied", "0", "12"),
    ),
    Metric(
        "distortion", "D", ("round",), (), False, 0.0, math.log(2.0),
        "Jensen-Shannon divergence (nats) of the true objects' normalised probabilities, state 0 against 12",
        SURVEY, distortion,
    ),
    Metric(
        "distortion_released", "D released", ("round",), (), False, 0.0, math.log(2.0) / 2,
        "distortion divided by the number of true objects",
        RELEASED, distortion_released,
    ),
    Metric(
        "ir", "IR", ("round",), (), False, 0.0, 1.0,
        "ignore rate: share of the other true objects with p0 > p12",
        RELEASED, ignore_rate,
    ),
    Metric(
        "fr", "FR", ("round",), ("round",), False, 0.0, 1.0,
        "failure rate: IR > 0.5",
        RELEASED, failure_rate,
    ),
)  # fmt: skip

METRICS: Registry[Metric] = Registry("metric", {spec.name: spec for spec in _SPECS})
"""Every metric by name, in table order."""


DEFINITIONS = 1
"""To be counted up when a metric gets another value for the same probabilities."""


def definitions_digest() -> str:
    """Digest of what the metrics are: figures of two definitions cannot be compared."""
    said = [
        [metric.name, metric.kinds, metric.binary_kinds, metric.higher_is_better, metric.low, metric.high]
        for metric in map(METRICS.get, sorted(METRICS))
    ]
    return hashlib.sha256(json.dumps([DEFINITIONS, said]).encode()).hexdigest()[:16]
