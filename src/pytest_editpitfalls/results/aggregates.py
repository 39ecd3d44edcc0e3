"""Case values to suite values: means with 95 % confidence intervals."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist

from pytest_editpitfalls.cases.case import Kind
from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.options.defaults import SUCCESS_FLOOR
from pytest_editpitfalls.options.editor_labels import editor_name
from pytest_editpitfalls.pitfalls import metrics_for, pitfall_of
from pytest_editpitfalls.program import NOTHING_CHANGED
from pytest_editpitfalls.verdicts.reliability import is_reliable, unreliable_reason

from .records import AggregateRecord, CaseRecord, MetricAggregate

CONFIDENCE = 0.95
RESAMPLES = 2000


def aggregate(
    cases: Iterable[CaseRecord],
    kinds: Mapping[str, Kind],
    *,
    seed: int = 0,
    success_floor: float = SUCCESS_FLOOR,
) -> list[AggregateRecord]:
    """Return one record per (suite, editor, model), in order of first appearance.

    Args:
        cases: records of any outcome; cases that are not scored (`CaseRecord.is_scored`) do not count, nor as zero.
        kinds: suite name -> kind.
        seed: seed of the bootstrap; the interval of a metric depends on it and on the values alone.
        success_floor: mean edit success (fraction) under which a record is marked unreliable.
    """
    groups: dict[tuple[str, str, str], list[CaseRecord]] = {}
    for case in cases:
        groups.setdefault((case.suite, case.editor, case.model), []).append(case)
    records = []
    for (suite, editor, model), members in groups.items():
        scored = [case for case in members if case.is_scored]
        kind = kinds[suite]
        metrics = {
            metric.name: summarise(metric, [case.metrics.get(metric.name) for case in scored], seed=seed)
            for metric in metrics_for(kind)
        }
        unchanged = sum(NOTHING_CHANGED in case.notes for case in scored)
        record = AggregateRecord(
            suite=suite, editor=editor, model=model, n=len(scored), metrics=metrics, unchanged=unchanged
        )
        _mark(record, kind, success_floor)
        records.append(record)
    return records


def aggregate_held(
    cases: Iterable[CaseRecord],
    kinds: Mapping[str, Kind],
    *,
    seed: int = 0,
    success_floor: float = SUCCESS_FLOOR,
) -> list[AggregateRecord]:
    """Return the same over the cases whose facts the model holds; there is no record where none is held."""
    held = [case for case in cases if case.held]
    return aggregate(held, kinds, seed=seed, success_floor=success_floor)


def _mark(record: AggregateRecord, kind: Kind, floor: float) -> None:
    """Say in ``record`` whether its editor edits often enough for its figures to mean something."""
    success = record.metrics["es"].value
    record.reliable = is_reliable(success, floor)
    if success is None:
        record.reliable_reason = "edit success is unknown: no case has a value of es"
    elif not record.reliable:
        record.reliable_reason = unreliable_reason(
            record.editor, record.model, {record.suite: success}, floor, figures=pitfall_of(kind).topic.name
        )


def mark_unrepeatable(records: Iterable[AggregateRecord], editor: str, model: str, reason: str) -> None:
    """Say in the records of an editor (by its label without ``+mle``) on a model that none of its figures counts."""
    for record in records:
        if editor_name(record.editor) == editor and record.model == model:
            record.repeatable, record.reliable, record.reliable_reason = False, False, reason


def summarise(metric: Metric, values: Sequence[float | None], *, seed: int = 0) -> MetricAggregate:
    """Return mean and interval of one metric over the known ``values``.

    Binary metrics get the Wilson score interval of a proportion; the others a bootstrap interval of the mean
    (BCa, or percentile where BCa is not defined), seeded and cut to the metric's range. With fewer than two
    known values there is no interval.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return MetricAggregate(value=None, low=None, high=None, n=0)
    mean = math.fsum(known) / len(known)
    if len(known) == 1:
        return MetricAggregate(value=mean, low=None, high=None, n=1)
    if metric.is_binary:
        low, high = wilson_interval(round(math.fsum(known)), len(known))
    else:
        low, high = bootstrap_interval(known, seed=seed, label=metric.name)
        low = low if metric.low is None else max(low, metric.low)
        high = min(high, metric.high)
    return MetricAggregate(value=mean, low=min(low, mean), high=max(high, mean), n=len(known))


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion (Wilson 1927, without continuity correction)."""
    # not `binomtest` of scipy.stats, which takes a second to import
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    p = successes / n
    middle = (2 * successes + z * z) / (2 * (n + z * z))
    half = z * math.sqrt(4 * successes * (1 - p) + z * z) / (2 * (n + z * z))
    return 0.0 if successes == 0 else middle - half, 1.0 if successes == n else middle + half


def bootstrap_interval(values: Sequence[float], *, seed: int, label: str) -> tuple[float, float]:
    """Return a 95 % bootstrap interval of the mean (Efron 1987, BCa), the same for the same values and seed.

    Equal values give an interval of no width. ``label`` keeps the resamples of two metrics independent.
    """
    if all(value == values[0] for value in values):
        return float(values[0]), float(values[0])
    import warnings

    import numpy as np
    from scipy.stats import bootstrap

    data = np.asarray(values, dtype=float)
    digest = hashlib.sha256(f"{seed}:{label}".encode()).digest()
    for method in ("BCa", "percentile"):
        generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            interval = bootstrap(
                (data,),
                np.mean,
                n_resamples=RESAMPLES,
                batch=max(1, 2_000_000 // len(values)),
                confidence_level=CONFIDENCE,
                method=method,
                vectorized=True,
                rng=generator,
            ).confidence_interval
        low, high = float(interval.low), float(interval.high)
        if math.isfinite(low) and math.isfinite(high):
            break
    return low, high
